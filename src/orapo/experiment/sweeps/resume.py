"""``resume=SWEEP_FOLDER``: runs the command of a sweep again, in the same folder."""

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from orapo.errors import CheckpointError, DataError, SettingError
from orapo.experiment.finished_run import parse_mapping
from orapo.foreign import read_text

MULTIRUN = "multirun.yaml"
"""Hydra's record of a sweep, in its folder."""

_RESUME = "resume="
_SETTINGS = {"hydra/launcher": ("hydra.launcher", "hydra.callbacks.slot"), "hydra/sweeper": ("hydra.sweeper",)}
"""A choice, and where what it chooses has its settings."""

_HYDRA = re.compile(r"[+~]*hydra[./]")


def resumed_sweep(arguments: Sequence[str]) -> list[str]:
    """The arguments of the command that began a sweep, where ``resume=`` names a sweep's folder; else as they are.

    How the jobs are launched and how many trials a search makes (``hydra/...`` and ``hydra....``) may change.

    Raises:
        SettingError: the command sets anything else.
        CheckpointError: the sweep's record can't be read.
    """
    named = [
        Path(argument.removeprefix(_RESUME).strip("'\"")) for argument in arguments if argument.startswith(_RESUME)
    ]
    if len(named) != 1 or not (named[0] / MULTIRUN).is_file():
        return list(arguments)
    folder = named[0]
    others = [argument for argument in arguments if not argument.startswith(_RESUME)]
    set_anew = [argument for argument in others if _HYDRA.match(argument)]
    if refused := [argument for argument in others if "=" in argument and argument not in set_anew]:
        raise SettingError(
            f"resume={folder} goes on with the sweep's own settings; leave out {' '.join(refused)} "
            "(what may change is how jobs are launched: hydra/launcher=..., hydra.launcher..., hydra.sweeper...)"
        )
    changed = {_key(argument) for argument in set_anew} | {"hydra.mode", "hydra.sweep.dir"}
    # Another launcher, or sweeper, knows nothing of the first one's settings.
    dropped = tuple(f"{part}." for choice, parts in _SETTINGS.items() if choice in changed for part in parts)
    saved = _saved_overrides(folder / MULTIRUN)
    kept = [o for o in saved if _key(o) not in changed and not _key(o).startswith(dropped)]
    flags = [argument for argument in others if argument not in set_anew and argument not in ("-m", "--multirun")]
    return ["--multirun", *flags, *kept, *set_anew, f"hydra.sweep.dir={_quoted(str(folder))}"]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _saved_overrides(path: Path) -> list[str]:
    try:
        saved = parse_mapping(read_text(path))
        return [str(override) for part in ("task", "hydra") for override in saved.hydra.overrides[part]]
    except (DataError, YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is no record of a sweep ({type(error).__name__})") from error


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
