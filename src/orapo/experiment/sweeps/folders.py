"""The folders of a sweep's jobs, ``<number>_<overrides>``, and the lock of a run's or a sweep's folder."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from orapo.comparison.run_state import RunState, StateRecord, read_state
from orapo.errors import DataError, SettingError

MAX_BYTES = 200
"""Of a job folder's name; file systems end at 255, encrypted ones at 143 characters of three bytes."""

DIGEST_CHARACTERS = 10
LOCK = ".lock"


def job_folder(sweep: str, number: int, overrides: str) -> str:
    """The folder of a job below its sweep: that of an earlier run of the same job, else a new one.

    A job is known by its overrides: its number changes when values are added to a grid.

    Args:
        sweep: folder of the sweep.
        number: of the job.
        overrides: Hydra's ``override_dirname``.
    """
    label = job_label(overrides)
    own = f"{number}_{label}" if label else str(number)
    if (Path(sweep) / own).exists():
        return own
    wanted = sorted(str(override) for override in HydraConfig.get().overrides.task)
    for name, record in _jobs_called(label, Path(sweep)):
        # Two equal jobs of one sweep that run side by side keep apart.
        if sorted(record.overrides) == wanted and not is_run_by_another(record):
            return name
    return own


def job_label(overrides: str) -> str:
    """The overrides as part of a folder's name; a digest of all of them ends what had to be cut."""
    flat = overrides.replace("/", ".")
    if len(flat.encode()) <= MAX_BYTES:
        return flat
    digest = hashlib.sha256(overrides.encode()).hexdigest()[:DIGEST_CHARACTERS]
    kept = flat.encode()[: MAX_BYTES - DIGEST_CHARACTERS - 1].decode(errors="ignore")
    return f"{kept}~{digest}"


def is_run_by_another(record: StateRecord) -> bool:
    """Whether another process is at work in the folder, as far as can be told from here.

    A job that SLURM put back into the queue takes over from its own earlier attempt, wherever that ran.
    """
    is_requeued = int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
    is_running = record.seen_from_here().state is RunState.RUNNING
    return is_running and record.process_id != os.getpid() and not is_requeued


def _jobs_called(label: str, sweep: Path) -> Iterator[tuple[str, StateRecord]]:
    if not sweep.is_dir():
        return
    for name in sorted(entry.name for entry in os.scandir(sweep) if entry.is_dir()):
        number, _, rest = name.partition("_")
        if not number.isdecimal() or rest != label:
            continue
        try:
            record = read_state(sweep / name)
        except DataError:
            continue
        if record is not None:
            yield name, record


@contextmanager
def folder_lock(folder: Path) -> Iterator[bool]:
    """Locks a folder, which is made when needed; the lock of a killed command is released.

    Gives whether it is held: False on a file system without locks, where nothing is known.

    Raises:
        SettingError: another command holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        is_held = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingError(f"{folder} is at work in another command; wait for it, or stop that one") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
            is_held = False
        yield is_held


def sweep_name() -> str | None:
    """Name and time of the sweep that this job belongs to, as its folder is called; None for a single run."""
    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return None
    return "/".join(Path(HydraConfig.get().runtime.output_dir).parent.parts[-2:])


# A config can be resolved wherever this package is used: with Hydra's command line or without, in a sweep's worker.
OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
