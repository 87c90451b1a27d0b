"""Checkpoints on disk: which one a run continues from, and which ones stay."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from orapo.errors import CheckpointError
from orapo.training.checkpoint_files import (
    NEEDED,
    NEEDED_TO_RESUME,
    RUN,
    CheckpointWriter,
    check,
    earlier,
    find_last,
    put_in_place,
)
from orapo.training.checkpoints import LastCheckpoint, RandomStates


def save(path: Path, step: int, *, without: tuple[str, ...] = ()) -> Path:
    content = {key: {"step": torch.full((500,), step)} for key in (*NEEDED, *NEEDED_TO_RESUME) if key not in without}
    writer = CheckpointWriter()
    writer.save_checkpoint(content, path)
    assert writer.error is None
    return path


def step_of(path: Path) -> int:
    return int(check(path)["state_dict"]["step"][0])


@pytest.mark.parametrize(("keep", "kept"), [(1, []), (2, [3]), (3, [3, 2]), (9, [3, 2, 1])])
def test_the_newest_stay(keep: int, kept: list[int], tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        put_in_place(save(tmp_path / "x.unfinished", step), tmp_path, step - 1 or None, keep)
    assert step_of(tmp_path / "last.ckpt") == 4
    assert [step_of(path) for path in earlier(tmp_path)] == kept


def test_what_takes_the_last_ones_place_is_on_the_disk_and_so_is_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after a rename leaves an empty file where the content was still in memory."""
    done: list[str] = []

    def noting(name: str, call: Callable[..., None]) -> Callable[..., None]:
        def noted(place: int | Path, *more: Path) -> None:
            done.append(f"{name} {Path(os.readlink(f'/proc/self/fd/{place}')) if isinstance(place, int) else place}")
            call(place, *more)

        return noted

    save(tmp_path / "last.ckpt", 1)
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))
    new = save(tmp_path / "x.unfinished", 2)
    put_in_place(new, tmp_path, 1, 1)
    assert done == [f"fsync {new}", f"replace {new}", f"fsync {tmp_path}"]


def test_a_step_of_ten_is_newer_than_one_of_nine(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        save(tmp_path / f"step_{step}.ckpt", step)
    assert [step_of(path) for path in earlier(tmp_path)] == [100, 10, 9]


def test_the_checkpoint_that_a_run_continues_from_stays_beside_the_next_one(tmp_path: Path) -> None:
    def write(path: Path, weights_only: bool) -> None:
        save(path, 4)

    trainer: Any = SimpleNamespace(save_checkpoint=write)
    module: Any = None
    save(tmp_path / "last.ckpt", 3)
    saving = LastCheckpoint(tmp_path, 1, 9, None, RandomStates(), keep=2)
    saving.on_load_checkpoint(trainer, module, {RUN: {"step": 3}})
    saving.on_train_batch_end(trainer, module, None, None, 3)
    assert (step_of(tmp_path / "last.ckpt"), step_of(tmp_path / "step_3.ckpt")) == (4, 3)


def test_every_generator_continues_where_the_checkpoint_left_it() -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), float(torch.rand(1))  # noqa: NPY002

    anything: Any = None
    saved = RandomStates().state_dict()
    expected = drawn()
    resumed = RandomStates()
    resumed.load_state_dict(saved)
    resumed.on_train_batch_start(anything, anything, anything, 0)
    assert drawn() == expected


def test_a_kill_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    save(tmp_path / "step_5.ckpt", 5)
    save(tmp_path / "step_6.unfinished", 6)
    assert find_last(tmp_path) == (tmp_path / "last.ckpt", [])
    assert step_of(tmp_path / "last.ckpt") == 5
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_damaged_ones_are_passed_over_and_kept(tmp_path: Path) -> None:
    save(tmp_path / "last.ckpt", 3).write_bytes(b"")
    save(tmp_path / "step_2.ckpt", 2, without=("loops",))
    save(tmp_path / "step_1.ckpt", 1)
    found, wrong = find_last(tmp_path)
    assert found is not None
    assert step_of(found) == 1
    assert ["damaged" in wrong[0], "lacks loops" in wrong[1]] == [True, True]
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "last.ckpt.damaged", "step_2.ckpt.damaged"}


def test_none_that_is_whole_is_an_error_and_none_at_all_is_not(tmp_path: Path) -> None:
    assert find_last(tmp_path / "checkpoints") == (None, [])
    path = save(tmp_path / "last.ckpt", 1, without=NEEDED_TO_RESUME)
    with pytest.raises(CheckpointError, match="holds weights only"):
        find_last(tmp_path)
    assert path.exists()


class Writes:
    """A pickle of it writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return open, (str(self.path), "w")


def test_no_pickle_of_a_checkpoint_runs(tmp_path: Path) -> None:
    content = {key: {} for key in (*NEEDED, *NEEDED_TO_RESUME)}
    torch.save({**content, "more": Writes(tmp_path / "ran")}, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="is damaged"):
        check(tmp_path / "last.ckpt")
    assert not (tmp_path / "ran").exists()


def test_a_link_whose_file_is_gone_is_a_lost_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").symlink_to(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        find_last(tmp_path)
    save(tmp_path / "step_2.ckpt", 2)
    found, wrong = find_last(tmp_path)
    assert (step_of(found), len(wrong)) == (2, 1)


@pytest.mark.parametrize("place", range(0, 60_000, 1_777))
def test_every_flipped_bit_of_a_weight_is_noticed(place: int, tmp_path: Path) -> None:
    path = save(tmp_path / "last.ckpt", 1)
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place] ^= 1
    path.write_bytes(content)
    try:
        found = check(path)
    except CheckpointError:
        return
    # Between the records there are bytes that nobody reads.
    whole = check(save(tmp_path / "whole.ckpt", 1))
    assert all(torch.equal(found[key]["step"], whole[key]["step"]) for key in whole)


def test_a_write_that_fails_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    writer = CheckpointWriter()
    writer.save_checkpoint({"a": torch.zeros(10)}, tmp_path / "no" / "x")
    assert writer.error == "No such file or directory"
    full = Path("/dev/full")
    if full.exists():
        (tmp_path / "x").symlink_to(full)
        writer.save_checkpoint({"a": torch.zeros(1_000_000)}, tmp_path / "x")
        assert writer.error == "No space left on device"
        assert not (tmp_path / "x").is_symlink()
