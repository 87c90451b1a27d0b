"""Damaged, edited, contested and full: what a run does about it, and that nothing is lost."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tests import forks
from tests.forks import Command
from tests.small_runs import SMALL, assert_same_run, num_steps, state, weights, whole

__all__ = ["whole"]
pytestmark = pytest.mark.slow


def stopped(folder: Path, *overrides: str, after: int = 2) -> Command:
    """A run that was killed after so many steps, without a word."""
    run = forks.start(
        ["train", *SMALL, *overrides, f"hydra.run.dir={folder}"], folder.with_suffix(".log"), folder.parent
    )
    last = folder / "checkpoints" / "last.ckpt"
    assert run.until(lambda: last.exists() and num_steps(folder) > after), run.text()
    run.send(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    return run


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after its third step; to be copied."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    stopped(folder)
    return folder


@pytest.fixture(scope="module")
def killed_with_one_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, which kept its last checkpoint alone."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    stopped(folder, "callbacks.keep_last=1")
    return folder


def resumed(folder: Path, *overrides: str, **limits: int) -> Command:
    return forks.run(["train", f"resume={folder}", *overrides], folder.with_suffix(".again"), folder.parent, **limits)


def error_of(run: Command) -> str:
    """The one line of a command that failed."""
    assert run.wait() == 1, run.text()
    assert "Traceback" not in run.text(), run.text()
    assert "Error executing job" not in run.text(), run.text()
    (line,) = [line for line in run.text().splitlines() if line.startswith("error: ")]
    return line


def flip(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0x10
    path.write_bytes(content)


# ---- checkpoints


@pytest.mark.parametrize("at", [0.02, 0.3, 0.9])
def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_is_taken(
    at: float, whole: Path, killed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    flip(folder / "checkpoints" / "last.ckpt", at)
    run = resumed(folder)
    assert run.wait() == 0, run.text()
    assert "last.ckpt is damaged" in run.text()
    assert (folder / "checkpoints" / "last.ckpt.damaged").exists()
    assert_same_run(folder, whole)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "without loops", "other weights"])
def test_a_checkpoint_that_cannot_be_used_is_one_line(
    damage: str, killed_with_one_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(killed_with_one_checkpoint, folder)
    last = folder / "checkpoints" / "last.ckpt"
    assert [path.name for path in last.parent.glob("*.ckpt")] == ["last.ckpt"]
    content = torch.load(last, weights_only=True)
    if damage == "without loops":
        torch.save({key: value for key, value in content.items() if key != "loops"}, last)
    elif damage == "other weights":
        content["state_dict"].popitem()
        torch.save(content, last)
    else:
        whole_file = last.read_bytes()
        last.write_bytes({"truncated": whole_file[:99_999], "empty": b"", "garbage": b"no" * 500}[damage])
    before = last.read_bytes()
    told = error_of(resumed(folder))
    assert {"without loops": "lacks loops", "other weights": "other weights than those that train"}.get(
        damage, f"{last} is damaged"
    ) in told
    assert last.read_bytes() == before
    assert state(folder) == "running", "a refused resume leaves the record: this one was killed"


def test_so_many_checkpoints_stay(whole: Path, tmp_path: Path) -> None:
    assert {path.name for path in (whole / "checkpoints").iterdir()} == {"last.ckpt", "step_3.ckpt"}
    run = forks.run(
        ["train", *SMALL, "callbacks.keep_last=3", f"hydra.run.dir={tmp_path}/run"], tmp_path / "log", tmp_path
    )
    assert run.wait() == 0, run.text()
    kept = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {"last.ckpt", "step_3.ckpt", "step_2.ckpt"}
    assert "the last 3 checkpoints of 20 MB" in run.text()


def test_checkpoints_without_the_optimiser_are_a_third_and_no_run_continues_from_them(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run = forks.start(
        ["train", *SMALL, "callbacks.keep_optimizer=false", f"hydra.run.dir={folder}"], tmp_path / "log", tmp_path
    )
    run.until(lambda: num_steps(folder) > 2)
    run.send(signal.SIGTERM)
    assert run.wait() == 143, run.text()
    assert "can't be resumed" in run.text()
    sizes = [(place / "checkpoints" / "last.ckpt").stat().st_size for place in (folder, whole)]
    assert sizes[0] < 0.4 * sizes[1]
    assert "callbacks.keep_optimizer=false" in error_of(resumed(folder))


@pytest.mark.parametrize("name", ["metrics.csv", "validation.csv", "rollouts.jsonl"])
@pytest.mark.parametrize("how", ["shortened", "changed", "grown"])
def test_files_that_do_not_match_the_checkpoint(how: str, name: str, whole: Path, killed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    path = folder / name
    content = path.read_bytes()
    changed = {"shortened": content[:40], "changed": content.replace(b"0", b"1", 1), "grown": content + b"9,9,9\n"}[how]
    path.write_bytes(changed)
    run = resumed(folder)
    if how == "grown":
        assert run.wait() == 0, run.text()
        assert_same_run(folder, whole)
        return
    assert f"{path} was shortened or changed since the checkpoint" in error_of(run)
    assert path.read_bytes() == changed


def test_an_edited_config_is_told(whole: Path, killed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    config = folder / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("num_steps: 4", "num_steps: 6"))
    assert "was edited since the run's checkpoint: training.num_steps is 6, was 4" in error_of(resumed(folder))
    config.write_text(text.replace("eval_batch_size: 1", "eval_batch_size: 2"))
    run = resumed(folder)
    assert run.wait() == 0, run.text()
    assert "config.yaml was edited: training.eval_batch_size is 2, was 1" in run.text()
    assert json.loads((folder / "summary.json").read_text())["counts"]["training_steps"] == 4


@pytest.mark.parametrize("content", [b"", b"- 1\n", b"a: [", b"\xff\xfe", b"a: &a [1]\nb: *a\n"])
def test_a_config_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_bytes(content)
    told = error_of(resumed(tmp_path / "run"))
    assert ("config.yaml is not the config of a run" if content else "run_name is missing") in told


# ---- two commands, one folder


def test_two_commands_in_one_folder(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stopped(folder, after=0)
    first = forks.start(["train", f"resume={folder}"], tmp_path / "first.log", tmp_path)
    assert first.until(lambda: state(folder) == "running" and "continuing from" in first.text())
    second = forks.run(["train", f"resume={folder}"], tmp_path / "second.log", tmp_path)
    assert f"{folder} is at work in another command" in error_of(second)
    assert first.wait() == 0, first.text()
    assert state(folder) == "finished"
    assert_same_run(folder, whole)


# ---- the machine


def test_a_file_that_may_not_grow_loses_nothing(whole: Path, tmp_path: Path) -> None:
    """As a full disk or a quota: the write fails in the middle."""
    folder = tmp_path / "run"
    run = forks.run(["train", *SMALL, f"hydra.run.dir={folder}"], tmp_path / "log", tmp_path, FSIZE=5_000_000)
    told = error_of(run)
    assert "the checkpoint of step 1 can't be written" in told
    assert "File too large" in told
    assert state(folder) == "failed"
    assert not list((folder / "checkpoints").iterdir())
    again = resumed(folder)
    assert again.wait() == 0, again.text()
    assert_same_run(folder, whole)


def test_half_a_config_is_none(tmp_path: Path) -> None:
    """With it the folder could neither be resumed nor begun again."""
    folder = tmp_path / "run"
    run = forks.run(["train", *SMALL, f"hydra.run.dir={folder}"], tmp_path / "log", tmp_path, FSIZE=3_000)
    assert "File too large" in error_of(run)
    assert not folder.exists()


@pytest.mark.parametrize("name", [".lock", "checkpoints", "rollouts.jsonl", "model"])
def test_something_else_in_a_files_place(name: str, killed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.write_text("") if name in ("checkpoints", "model") else path.mkdir()
    told = error_of(resumed(folder))
    assert str(path) in told
    assert "composed" not in told


@pytest.mark.parametrize("option", ["--page", "--cases"])
def test_a_page_that_cannot_be_written_leaves_the_one_before(option: str, whole: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("the one before")
    told = error_of(forks.run(["compare", str(whole), option, str(page)], tmp_path / "log", tmp_path, FSIZE=20_000))
    assert str(page) in told
    assert page.read_text() == "the one before"


def test_an_evaluation_that_cannot_be_written_keeps_its_reports_and_does_not_count(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    run = forks.run(["evaluate", f"run={tmp_path}/run"], tmp_path / "log", tmp_path, FSIZE=100_000)
    (folder,) = (tmp_path / "run" / "evaluation").iterdir()
    assert str(folder) in error_of(run)
    assert (folder / "reports.jsonl").read_text().count("\n") == 2
    assert not (folder / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("command", "size"), [("data miniature iu_xray mini", 4_000), ("data rank --out table.csv", 600)]
)
def test_commands_without_a_config_say_what_the_machine_refuses(command: str, size: int, tmp_path: Path) -> None:
    overrides = SMALL if "rank" in command else []
    told = error_of(forks.run([*command.split(), *overrides], tmp_path / "log", tmp_path, FSIZE=size))
    assert "File too large" in told


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="needs a disk of its own")
def test_a_full_disk(whole: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "40m") as disk:
        told = error_of(forks.run(["train", *SMALL, f"hydra.run.dir={disk}/run"], tmp_path / "log", tmp_path))
        assert "2 + 1 checkpoints of 20 MB with the trained model take about" in told
        assert state(disk / "run") == "failed"
    with small_disk(tmp_path / "other", "100m") as disk:
        folder = disk / "run"
        run = forks.start(["train", *SMALL, f"hydra.run.dir={folder}"], tmp_path / "log", tmp_path)
        run.until(lambda: (folder / "base_test_reports.jsonl").exists())
        fill(disk, 25_000_000)
        told = error_of(run)
        assert "No space left on device" in told
        assert state(folder) == "failed", "the record is written on a full disk too"
        (disk / "filler").unlink()
        again = resumed(folder)
        assert again.wait() == 0, again.text()
        assert_same_run(folder, whole)
        fill(disk, 0)
        for command in (
            ["train", *SMALL, f"paths.logs={disk}/logs"],
            ["evaluate", "checkpoint=x", f"paths.evaluations={disk}/e"],
            ["generate", f"image={folder}/test_studies.png", f"out={disk}/out.txt"],
        ):
            told = error_of(forks.run(command, tmp_path / "log", tmp_path))
            assert "MB free; make room" in told
        assert not (disk / "logs").exists()


def fill(disk: Path, leave: int) -> None:
    with (disk / "filler").open("wb") as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        file.write(bytes(max(0, free - leave)))


def test_a_target_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command in (
        ["train", *SMALL, f"paths.logs={tmp_path}/file"],
        ["evaluate", "checkpoint=x", f"paths.evaluations={tmp_path}/file"],
    ):
        assert f"{tmp_path}/file is a file" in error_of(forks.run(command, tmp_path / "log", tmp_path))


def test_a_killed_data_worker(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    endless = ["training.num_workers=1", "training.num_steps=4000"]
    run = forks.start(["train", *SMALL, *endless, f"hydra.run.dir={folder}"], tmp_path / "log", tmp_path)
    assert run.until(lambda: num_steps(folder) > 0), run.text()
    worker = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()[-1]
    os.kill(int(worker), signal.SIGKILL)
    assert "a process that opens images died" in error_of(run)
    assert state(folder) == "failed"


def test_batches_from_other_processes_take_few_open_files(tmp_path: Path) -> None:
    """A tensor on its way is two open files: a large batch met the limit, and the run waited for ever."""
    large = ["data.source.num_train=90", "data.subset.num_studies=64", "training.batch_size=64", "training.num_steps=1"]
    own = [*large, "training.num_workers=1", "training.validate_every_steps=null", f"hydra.run.dir={tmp_path}/run"]
    run = forks.start(["train", *SMALL, *own], tmp_path / "log", tmp_path, NOFILE=200)
    try:
        run.until(lambda: False, 100)
    finally:
        run.send(signal.SIGKILL)
    assert run.wait() == 0, run.text()


def test_what_reads_the_output_has_ended(whole: Path, tmp_path: Path) -> None:
    """As in ``orapo train | head``; here it read the errors, too."""
    folder, pipe = tmp_path / "run", tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    run = forks.start(["train", *SMALL, f"hydra.run.dir={folder}"], pipe, tmp_path)
    assert run.until(lambda: num_steps(folder) > 0)
    os.close(reader)
    assert run.wait() == 1
    record = json.loads((folder / "run_state.json").read_text())
    assert (record["state"], record["reason"]) == (
        "failed",
        "Broken pipe; what reads the output of this command has ended",
    )
    again = resumed(folder)
    assert again.wait() == 0, again.text()
    assert_same_run(folder, whole)


def test_a_folder_that_is_moved_away_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = forks.start(
        ["train", *SMALL, "training.num_steps=400", f"hydra.run.dir={folder}"], tmp_path / "log", tmp_path
    )
    run.until(lambda: num_steps(folder) > 1)
    folder.rename(tmp_path / "moved")
    told = error_of(run)
    assert f"{folder} was moved or removed" in told or "checkpoint" in told, told
    assert not list(folder.rglob("metrics.csv"))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("reward.api_base=http://[::1]:8000/v1", "the value of reward.api_base can't be read"),
        ("run_name=a b]", "the value of run_name can't be read"),
        ("training.num_workers=100000", "at most 256"),
        ("training.batch_size=1000000000", "at most 100000"),
        ("training.eval_batch_size=1000000000", "at most 100000"),
        ("rollout.per_study=1000000000", "at most 100000"),
        ("seed=4294967296", "less than 4294967296"),
        (f"run_name={300 * 'x'}", "more than 255 bytes"),
        (f"run_name={220 * 'x'}", "at most 200 bytes"),
        ("run_name=..", "at most 200 bytes"),
        ("callbacks.keep_last=0", "at least 1"),
        ("training=null", "these settings come with model=NAME"),
        ("resume=/nope", "there is no such folder"),
        ("resume=file", "no such folder"),
    ],
)
def test_what_is_refused_before_it_begins_leaves_nothing(override: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = forks.run(["train", *SMALL, override], tmp_path / "log", tmp_path)
    assert told in error_of(run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "log"]


def test_a_resume_continues_from_a_kill_again_and_again(whole: Path, tmp_path: Path) -> None:
    """Stale locks and half-written files are no obstacle."""
    folder = tmp_path / "run"
    stopped(folder, after=0)
    (folder / "checkpoints" / "step_9.unfinished").write_bytes(b"half")
    for step in (1, 2):
        run = forks.start(["train", f"resume={folder}"], tmp_path / "log", tmp_path)
        run.until(lambda step=step: num_steps(folder) > step)  # type: ignore[misc]
        run.send(signal.SIGKILL)
        run.wait()
    time.sleep(0.1)
    run = resumed(folder)
    assert run.wait() == 0, run.text()
    assert_same_run(folder, whole)
    assert weights(folder)
