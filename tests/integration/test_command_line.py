"""train.py as a user runs it: real processes, exit codes, one-line errors, Ctrl-C and resume."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import forks

from orapo.data.phantoms.source import PhantomSource
from orapo.experiment.command_line import run_command
from orapo.experiment.train_command import train_command
from orapo.records import Split

ROOT = Path(__file__).parents[2]

SMALL = [
    "model=checkpoint",
    "model.gradient_checkpointing=false",
    "data.source.num_train=60",
    "data.source.num_validate=4",
    "data.source.num_test=4",
    "data.subset.num_studies=10",
    "data.max_report_tokens=16",
    "rollout.per_study=2",
    "training.batch_size=4",
    "training.num_workers=0",
    "training.validate_every_steps=null",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
]


def command(*overrides: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *overrides]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs the command in this process (imports cost seconds) and gives its one line on standard error."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def refuse(*overrides: str) -> str:
        monkeypatch.setattr(sys, "argv", ["train.py", *overrides, f"paths.logs={tmp_path}/logs"])
        with pytest.raises(SystemExit) as stop:
            run_command(train_command)
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        assert stop.value.code == 1
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        (told,) = err.splitlines()
        assert told.startswith("error: ")
        return told

    return refuse


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a CSV and PNG files, written from phantoms."""
    root = tmp_path_factory.mktemp("own")
    (root / "images").mkdir()
    source = PhantomSource(num_train=12)
    with (root / "studies.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study_id", "patient_id", "image_path", "view", "report"])
        for index, study in enumerate(source.studies(Split.TRAIN)):
            source.load_images(study)[0].save(root / "images" / f"{index}.png")
            writer.writerow([f"s{index}", f"p{index}", f"images/{index}.png", "PA", study.oracle_report])
    return root


def edited_table(table: Path, tmp_path: Path, old: str, new: str) -> Path:
    text = (table / "studies.csv").read_text()
    assert old in text
    changed = tmp_path / "studies.csv"
    changed.write_text(text.replace(old, new, 1))
    return changed


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("objective.alpa=0.3", "objective.alpa"),
        ("rollout.per_study=1", "rollout.per_study is 1"),
        ("training.learning_rate=fast", "training.learning_rate is 'fast'"),
        ("data=nowhere", "nowhere"),
        ("prompt.context.a=3", "the overrides can't be composed: invalid literal for int() with base 10: 'a'"),
        ("+=FINDINGS:", "the overrides can't be composed: "),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in [
                ("objective.alpha=1.5", "alpha"),
                ("objective.w_min=0.5", "w_max"),
                ("objective.gamma=0", "gamma"),
                ("rollout.top_p=0", "rollout.top_p is 0"),
                ("reward.f_beta=-1", "f_beta"),
                ("training.num_steps=null", "exactly one of them"),
                ("objective.policy_loss.clip_low=2", "clip_low"),
                ("model.scoring=shred", "model.scoring is 'shred'"),
                ("data.subset.num_studies=0", "num_studies"),
                ("+trainer.gradient_clip_val=1", "gradient_clip_val"),
                ("seed=-1", "seed is -1"),
                ("+experiment=nothing", "nothing"),
            ]
        ),
    ],
)
def test_a_bad_setting_is_one_line(override: str, told: str, refused: Refused) -> None:
    assert told in refused(override)


@pytest.mark.slow
def test_an_unknown_key_is_refused_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['train.py', 'rollout.temperature=-1'];"
        f"sys.path.insert(0, {str(ROOT)!r});"
        "import runpy\n"
        f"try: runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
        "except SystemExit as stop: print('exit', stop.code)\n"
        "print('heavy', sorted({'torch', 'transformers', 'lightning', 'torchmetrics', 'wandb'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "exit 1" in result.stdout, result.stderr
    assert "heavy []" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("mkdir gone && cd gone && rmdir ../gone && exec orapo train seed=1", "the current folder is gone"),
        ("(orapo train --help; echo $? > code) | true; exit $(cat code)", "what reads the output"),
    ],
)
def test_a_folder_or_a_reader_that_is_gone_is_told(script: str, told: str, tmp_path: Path) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    run = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env={**environment(), "PATH": path}, capture_output=True, text=True
    )
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: ")
    assert told in line


@pytest.mark.slow
def test_a_traceback_comes_when_asked_for(tmp_path: Path) -> None:
    result = subprocess.run(
        command("rollout.temperature=-1", f"paths.logs={tmp_path}"),
        cwd=tmp_path,
        env={**environment(), "HYDRA_FULL_ERROR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode != 0
    assert "Traceback" in result.stderr
    assert "SettingError" in result.stderr


def own(csv_path: Path, root: Path, model: Path) -> list[str]:
    return [
        "+experiment=own_data",
        "model=checkpoint",
        f"model.path={model}",
        f"data.csv={csv_path}",
        f"data.root={root}",
    ]


@pytest.mark.slow
def test_bad_data_is_one_line(table: Path, tmp_path: Path, random_model_folder: Path, refused: Refused) -> None:
    good = table / "studies.csv"
    line = good.read_text().splitlines()[1]
    report = next(csv.reader([line]))[4]
    renamed = edited_table(table, tmp_path, "report\n", "text\n")
    told = refused(*own(renamed, table, random_model_folder))
    assert "report" in told
    assert "studies.csv" in told
    empty = edited_table(table, tmp_path, report, " ")
    told = refused(*own(empty, table, random_model_folder))
    assert "s0" in told
    assert "report" in told
    gone = edited_table(table, tmp_path, "images/3.png", "images/none.png")
    told = refused(*own(gone, table, random_model_folder))
    assert "line 5, study s3: none.png" in told
    told = refused(*own(tmp_path / "absent.csv", table, random_model_folder))
    assert "absent.csv" in told
    lateral = tmp_path / "lateral.csv"
    lateral.write_text(good.read_text().replace(",PA,", ",L,"))
    told = refused(*own(lateral, table, random_model_folder), "data.source.views=frontal")
    assert "view" in told


def test_a_truncated_image_names_its_study(
    table: Path, tmp_path: Path, random_model_folder: Path, refused: Refused
) -> None:
    import shutil

    root = tmp_path / "own"
    shutil.copytree(table, root)
    for file in (root / "images").iterdir():
        file.write_bytes(file.read_bytes()[:400])
    told = refused(*own(root / "studies.csv", root, random_model_folder))
    assert "study s" in told
    assert ".png" in told


@pytest.mark.slow
def test_another_architecture_or_no_model_is_refused(tmp_path: Path, refused: Refused) -> None:
    other = tmp_path / "bert"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    assert "'bert'" in refused(*SMALL, f"model.path={other}")
    assert "does not exist" in refused(*SMALL, f"model.path={tmp_path}/none")
    hollow = tmp_path / "hollow"
    hollow.mkdir()
    (hollow / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    assert "can't be loaded" in refused(*SMALL, f"model.path={hollow}")
    assert "model.path" in refused("model=checkpoint")


@pytest.mark.slow
def test_ctrl_c_saves_and_resume_goes_on(
    tmp_path: Path, random_model_folder: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    overrides = [*SMALL, f"model.path={random_model_folder}", "training.num_steps=12", f"paths.logs={tmp_path}/logs"]
    run = forks.start(["train", *overrides], tmp_path / "log", tmp_path)
    assert run.until(lambda: any(tmp_path.glob("logs/*/*/metrics.csv"))), run.text()
    run.send(signal.SIGINT)
    assert run.wait() == 130, run.text()
    assert "stopped by SIGINT after step" in run.text()
    (folder,) = tmp_path.glob("logs/*/*")
    assert f"resume={folder}" in run.text()
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert not (folder / "summary.json").exists()
    assert "seed=3" in refused(f"resume={folder}", "seed=3")
    monkeypatch.setattr(sys, "argv", ["train.py", f"resume={folder}"])
    run_command(train_command)
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", *(str(step) for step in range(1, 13))]
    assert json.loads((folder / "summary.json").read_text())["counts"]["training_steps"] == 12
    assert len(list(tmp_path.glob("logs/*/*"))) == 1, "resuming must not open another folder"
