"""What the config tree needs beside YAML: one length, what a config may build, sections that only training reads."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict

from orapo.errors import SettingError

OF_TRAINING = ("rollout", "training", "trainer")
"""Sections that come with ``model=NAME`` and that only train.py reads."""

_UNLESS = "${unless:"
_FUNCTION = "base_folder"
"""Of orapo, the only one that a config may call: others write files, or let it name any package."""
_trusted = {"orapo", "hydra_plugins.orapo_sweepers"}


def unless(other: str, default: Any, *, _parent_: DictConfig) -> Any:
    """``${unless:num_passes,500}``: the default, or None where the key ``other`` beside it is given.

    A key that is itself a ``${unless:...}`` is not given: of two of them both keep their defaults.
    """
    given = OmegaConf.to_container(_parent_, resolve=False)
    assert isinstance(given, dict)
    value = given.get(other)
    stands_back = isinstance(value, str) and value.startswith(_UNLESS)
    return default if stands_back or _parent_.get(other) is None else None


def around(value: float, factor: float) -> list[float]:
    """``${around:${training.learning_rate},3}``: from ``value / factor`` to ``value * factor``, for a search."""
    return [float(f"{bound:.6g}") for bound in (value / factor, value * factor)]


# A config can be resolved wherever this package is used: with Hydra's command line or without, in a sweep's worker.
OmegaConf.register_new_resolver("unless", unless, replace=True)
OmegaConf.register_new_resolver("around", around, replace=True)


def trust(package: str) -> None:
    """Lets configs name targets of ``package`` in this process and in those that it starts.

    For a program's own parts. No config file and no command line can call it.
    """
    _trusted.add(package)


def trusted() -> list[str]:
    """Packages and modules whose classes a config may name, and whose functions where they are a program's own."""
    return sorted(_trusted)


def check_targets(content: Any, prefix: str = "") -> None:
    """Refuses every ``_target_`` below ``content`` that leaves the trusted packages; nothing is imported.

    Raises:
        SettingError: names the key and the target.
    """
    if OmegaConf.is_config(content):
        content = OmegaConf.to_container(content, resolve=False)
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in parts:
        path = f"{prefix}.{key}" if prefix else str(key)
        if key == "_target_" and not _is_trusted(value):
            raise SettingError(_refusal(path, value))
        check_targets(value, path)


def read_target(name: object, key: str) -> Callable[..., Any]:
    """The class or function that ``key``, a ``_target_``, names.

    Raises:
        SettingError: it can't be imported, or is not a class or function of a trusted package: a module's own imports
            are no part of it, and of orapo's own functions only ``base_folder`` is one.
    """
    if not isinstance(name, str) or not _is_trusted(name):
        raise SettingError(_refusal(key, name))
    try:
        target = get_object(name)
    except Exception as error:
        raise SettingError(f"{key} is {name!r}, which can't be imported: {' '.join(str(error).split())}") from error
    is_part = inspect.isclass(target) or (
        inspect.isfunction(target)
        and (target.__name__ == _FUNCTION or target.__module__.partition(".")[0] != __name__.partition(".")[0])
    )
    if not is_part or not _is_trusted(target.__module__):
        raise SettingError(_refusal(key, name))
    found: Callable[..., Any] = target
    return found


def _is_trusted(name: object) -> bool:
    return isinstance(name, str) and any(name == package or name.startswith(f"{package}.") for package in _trusted)


def _refusal(key: str, name: object) -> str:
    return f"{key} is {name!r}; a config may build only classes of orapo"


def without_training(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config of a command that does not train, without the sections that its model brings for training.

    Args:
        config: composed; values that it takes from those sections stay.
        overrides: the command line.

    Raises:
        SettingError: the command line sets a key of those sections.
    """
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.key_or_group.partition(".")[0] in OF_TRAINING:
            raise SettingError(f"{override.key_or_group} is a setting of train.py; this command does not train")
    taken = tuple(f"${{{section}." for section in OF_TRAINING)
    kept = config.copy()
    with open_dict(kept):
        for key, value in OmegaConf.to_container(config, resolve=False).items():  # type: ignore[union-attr]
            if isinstance(value, str) and value.startswith(taken):
                kept[key] = config[key]
        for section in OF_TRAINING:
            kept.pop(section, None)
    return kept
