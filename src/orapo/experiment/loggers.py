"""W&B as an extra view of a run: the files in the run folder are the record, so a run continues if W&B fails."""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from orapo.comparison.run_state import read_state
from orapo.experiment.config import WandbSettings
from orapo.experiment.sweeps import folders as _resolvers  # noqa: F401  registers the resolver of logger.wandb.group

log = logging.getLogger(__name__)

MAX_NAME = 128


def open_loggers(
    settings: WandbSettings | None, folder: Path, run_name: str, config: dict[str, Any]
) -> list[WandbLogger]:
    """The loggers besides the files: none, or W&B, offline when there is no key or no connection."""
    if settings is None:
        return []
    import wandb

    # Everything inside the run folder: tables with images lie outside it otherwise.
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        os.environ[name] = str((folder / "wandb").resolve())
    (folder / "wandb").mkdir(parents=True, exist_ok=True)
    arguments = {
        "project": settings.project,
        "group": settings.group,
        "job_type": settings.job_type,
        "name": shown_name(run_name, folder),
        # The same folder is the same run: a resumed run continues, a second upload does not double it.
        "id": hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16],
        "resume": "allow",
        "dir": str(folder),
        "config": config,
    }
    run = _open_run(wandb, arguments, settings.timeout_seconds)
    return [] if run is None else [WandbLogger(experiment=run)]


def shown_name(run_name: str, folder: Path) -> str:
    """The run's name and what its command line set, at most 128 characters, W&B's limit.

    A resumed run is called as it was: the overrides are those that it began with.
    """
    record = read_state(folder)
    hidden = ("run_name=", "resume=", "logger=", "logger.", "paths.", "hydra.", "data.csv=", "data.root=")
    overrides = [] if record is None else [o for o in record.overrides if not o.lstrip("+").startswith(hidden)]
    name = " ".join([run_name, *overrides])
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _open_run(wandb: Any, arguments: dict[str, Any], timeout_seconds: int) -> Any:
    # An old error in the key or the connection must not stop a run: each way down is said aloud.
    if os.environ.get("WANDB_MODE") not in ("offline", "disabled") and wandb.login(prompt=False, verify=False):
        try:
            settings = wandb.Settings(init_timeout=timeout_seconds, login_timeout=timeout_seconds)
            return wandb.init(**arguments, settings=settings)
        except Exception as error:
            log.warning("W&B can't be reached (%s): this run is logged offline", str(error).split("\n")[0])
            wandb.teardown()
    mode = "disabled" if os.environ.get("WANDB_MODE") == "disabled" else "offline"
    try:
        return wandb.init(**arguments, mode=mode)
    except Exception as error:
        log.warning("W&B can't be started (%s): this run is logged to its files only", str(error).split("\n")[0])
        return None


def log_test_table(loggers: list[WandbLogger], rows: list[dict[str, Any]]) -> None:
    """A W&B table of test studies with image, both reports and facts; rows keep the same keys in every run."""
    for logger in loggers:
        if rows:
            import wandb

            columns = list(rows[0])
            cells = [
                [wandb.Image(value) if name == "image" and value else value for name, value in row.items()]
                for row in rows
            ]
            logger.experiment.log({"test/reports": wandb.Table(columns=columns, data=cells)})


def log_summary(loggers: list[WandbLogger], values: dict[str, float]) -> None:
    """Final scores in the run's W&B summary, by which runs are sorted."""
    for logger in loggers:
        logger.experiment.summary.update(values)


def close_loggers(loggers: list[WandbLogger]) -> None:
    """Ends W&B's run; without it the next job of a sweep would log into this one."""
    for logger in loggers:
        import wandb

        logger.experiment.finish()
        # finish() returns before W&B's own process has written the offline file; this waits for that process.
        wandb.teardown()
