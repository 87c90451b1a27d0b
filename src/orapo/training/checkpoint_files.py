"""The checkpoints of a run on disk: written whole or not at all, checked before anything is restored from them.

``last.ckpt`` is the newest; the ones before it are ``step_<N>.ckpt``. Each is a zip archive whose records carry CRC-32
sums, which torch does not compare while it loads.
"""

import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from orapo.errors import CheckpointError, DataError
from orapo.foreign import open_regular

LAST = "last.ckpt"
DAMAGED = ".damaged"
UNFINISHED = ".unfinished"
RUN = "orapo"
"""Key of what a checkpoint says of its run: ``step``, and ``config``, the text of config.yaml."""

NEEDED = ("state_dict", "loops", "objective", "judge", "global_step")
NEEDED_TO_RESUME = ("callbacks", "optimizer_states", "lr_schedulers")


class CheckpointWriter(TorchCheckpointIO):
    """Writes a checkpoint directly where it will stay, and waits until the disk has it.

    Lightning's own writer needs room for it in memory, then in the folder of temporary files, which may be small.

    Attributes:
        error: of the latest write; None when it went well. It is for all processes, not only for the one that writes.
    """

    def __init__(self) -> None:
        self.error: str | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes the file; removes it where it can't be completed."""
        self.error = None
        try:
            with Path(path).open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:
            with suppress(OSError):  # where nothing can be written, nothing can be removed
                Path(path).unlink(missing_ok=True)
            reason = error if isinstance(error, OSError) else error.__context__
            self.error = os.strerror(reason.errno) if isinstance(reason, OSError) and reason.errno else _first(error)


def _first(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def put_in_place(unfinished: Path, folder: Path, step_before: int | None, keep: int) -> None:
    """Makes a written file the last checkpoint, keeps those before it, and removes the oldest.

    Args:
        unfinished: in ``folder``.
        folder: of the checkpoints.
        step_before: of the last checkpoint until now; None where there is none to keep.
        keep: checkpoints that stay, at least 1.
    """
    last = folder / LAST
    if keep > 1 and step_before is not None and last.exists():
        last.rename(folder / f"step_{step_before}.ckpt")
    os.replace(unfinished, last)
    for old in earlier(folder)[keep - 1 :]:
        old.unlink()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def earlier(folder: Path) -> list[Path]:
    """The checkpoints before the last one, newest first."""
    found = [path for path in folder.glob("step_*.ckpt") if path.stem.removeprefix("step_").isdecimal()]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("step_")), reverse=True)


def find_last(folder: Path) -> tuple[Path | None, list[str]]:
    """The checkpoint that a run continues from: the last one, or else the newest that is intact.

    Removes unfinished files of killed processes, and renames a damaged one ``<name>.damaged``.

    Args:
        folder: of the checkpoints; need not exist.

    Returns:
        None where no checkpoint was ever saved, and what is wrong with those that can't be used.

    Raises:
        CheckpointError: there are checkpoints, and none can be used, or the last one holds no more than weights.
    """
    for left in folder.glob(f"*{UNFINISHED}"):
        left.unlink()
    last, found = folder / LAST, earlier(folder)
    candidates = [last, *found] if os.path.lexists(last) else found  # a link whose file is gone is a lost checkpoint
    wrong: list[str] = []
    for path in candidates:
        try:
            check(path)
        except CheckpointError as error:
            wrong.append(str(error))
            continue
        for damaged in candidates[: candidates.index(path)]:
            damaged.rename(f"{damaged}{DAMAGED}")
        if path != last:
            path.rename(last)
        return last, wrong
    if wrong:
        raise CheckpointError("; ".join(wrong))
    return None, []


def run_of(path: Path) -> dict[str, Any]:
    """What a checkpoint says about its run; empty if it can't be read or an older version wrote it."""
    try:
        content = _content(path)
    except Exception:  # restoring the run from it says what is wrong
        return {}
    return dict(content.get(RUN, {})) if isinstance(content, dict) else {}


def _content(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def check(path: Path) -> dict[str, Any]:
    """Reads a checkpoint; its tensors are memory-mapped, not loaded.

    Raises:
        CheckpointError: the file can't be read, is damaged, or lacks what a run needs.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            if (record := archive.testzip()) is not None:
                raise CheckpointError(f"{path} is damaged: {record} is not what was written")
        content = _content(path)
    except DataError as error:
        raise CheckpointError(str(error)) from None
    except (
        OSError, RuntimeError, ValueError, KeyError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError
    ) as error:  # fmt: skip
        raise CheckpointError(f"{path} is damaged ({type(error).__name__})") from error
    missing = [key for key in (*NEEDED, *NEEDED_TO_RESUME) if not isinstance(content, dict) or key not in content]
    if missing == list(NEEDED_TO_RESUME):
        raise CheckpointError(f"{path} holds weights only (callbacks.keep_optimizer=false): no run can continue")
    if missing:
        raise CheckpointError(f"{path} is no checkpoint of a run: it lacks {', '.join(missing)}")
    return dict(content)
