"""Sections that name in ``_target_`` what they build: arguments are checked before anything is called."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orapo.errors import SettingError
from orapo.experiment.config_tree import read_target
from orapo.settings import arguments_of, is_settings, read

TARGET = "_target_"


def plain(config: DictConfig, path: str = "") -> dict[str, Any]:
    """The section as plain Python values, interpolations resolved.

    Raises:
        SettingError: a value is still ???, or refers to a key that isn't there.
    """
    try:
        missing = sorted(f"{path}.{key}".lstrip(".") for key in OmegaConf.missing_keys(config))
        if missing:
            raise SettingError(f"{' and '.join(missing)} must be given, as {missing[0]}=VALUE on the command line")
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise SettingError(f"{error.full_key or path or 'the config'}: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise SettingError(f"{path or 'the config'} is {content!r}; it must be a section")
    return {str(key): value for key, value in content.items()}


def build(section: DictConfig | Mapping[str, Any], path: str) -> Any:
    """Builds what a section names, and what stands inside it, once the arguments are checked.

    Args:
        section: with ``_target_`` beside the arguments.
        path: of the section in the config, for errors.

    Raises:
        SettingError: an argument that the target does not know, that it needs and does not get, or that is not
            allowed; named by its whole key.
    """
    return _prepared(section, path)()


def check(section: DictConfig | Mapping[str, Any], path: str) -> None:
    """Checks as ``build`` does, but calls nothing that the section itself names: a source reads no file.

    Raises:
        SettingError: see ``build``.
    """
    _prepared(section, path)


def _prepared(section: DictConfig | Mapping[str, Any], path: str) -> Callable[[], Any]:
    """Checks the arguments, and returns what builds the object."""
    content: Mapping[str, Any] = plain(section, path) if isinstance(section, DictConfig) else section
    target = _target(content, path)
    given = {key: _built(value, f"{path}.{key}") for key, value in content.items() if key != TARGET}
    if is_settings(target):
        made = read(target, given, path)
        # Settings of a data set or of a judge open what they describe.
        return getattr(made, "open", lambda: made)
    kinds = (parameter.kind for parameter in inspect.signature(target).parameters.values())
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        read(arguments_of(target), given, path)
    return partial(target, **given)


def _target(content: Any, path: str) -> Any:
    if not isinstance(content, Mapping) or TARGET not in content:
        raise SettingError(f"{path} is {content!r}; it must be a section with {TARGET}")
    return read_target(content[TARGET], f"{path}.{TARGET}")


def _built(value: Any, path: str) -> Any:
    """An argument, with every nested object built."""
    if isinstance(value, Mapping):
        inside = {key: _built(one, f"{path}.{key}") for key, one in value.items() if TARGET not in value}
        return build(value, path) if TARGET in value else inside
    return [_built(one, f"{path}.{index}") for index, one in enumerate(value)] if isinstance(value, list) else value
