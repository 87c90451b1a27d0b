"""Which settings tell groups of runs apart: those of the command lines where they suffice, else of the configs."""

from collections.abc import Mapping, Sequence
from typing import Any

from orapo.comparison.run_folder import Run

TARGET = "_target_"
NOT_SWEPT = ("seed", "run_name", "resume", "paths", "logger", "callbacks", "hydra")
"""First parts of overrides that never set groups apart."""

DEFAULT = "default"
"""Value of a choice that this group's command line did not make."""

MAX_JOINED = 3
"""Settings that always change together are named together up to so many; of more, one stands for all."""


def shown_value(value: Any) -> str:
    """A setting's value as the config writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value)


def swept_settings(groups: Sequence[Sequence[Run]], keys: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The settings that set these groups apart, by a short name; those that always change together are one.

    Args:
        groups: the runs of each group.
        keys: the flat settings that differ between groups.

    Returns:
        Each group's value; a number, a text, a boolean or None.
    """
    if len(groups) < 2:
        return {}
    columns = _from_overrides(groups)
    if columns is None:
        columns = {key: tuple(runs[0].settings.get(key, "absent") for runs in groups) for key in keys}
    columns = {key: _shortest(key, values) for key, values in columns.items()}
    return _merged({key: values for key, values in columns.items() if len(set(map(repr, values))) > 1})


def _from_overrides(groups: Sequence[Sequence[Run]]) -> dict[str, tuple[Any, ...]] | None:
    """Values by override; None where a run's overrides are unknown or don't tell exactly these groups apart."""
    told = [[_choices(run) for run in runs] for runs in groups]
    if any(choices is None or choices != of_runs[0] for of_runs in told for choices in of_runs):
        return None
    chosen: list[Mapping[str, str]] = [of_runs[0] or {} for of_runs in told]
    keys = dict.fromkeys(key for choices in chosen for key in choices)
    columns = {
        # The config holds what the default was; a choice of a config file is no setting there.
        key: tuple(
            runs[0].settings.get(key, choices.get(key, DEFAULT)) for runs, choices in zip(groups, chosen, strict=True)
        )
        for key in keys
    }
    rows = {repr([values[place] for values in columns.values()]) for place in range(len(groups))}
    return columns if len(rows) == len(groups) else None


def _choices(run: Run) -> dict[str, str] | None:
    if run.overrides is None:
        return None
    pairs = [override.lstrip("+").partition("=") for override in run.overrides]
    return {key: value for key, _, value in pairs if key.split(".")[0] not in NOT_SWEPT}


def _shortest(key: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Classes and absolute paths by as many of their last parts as tell them apart."""
    texts = {value for value in values if isinstance(value, str)}
    is_target = key.endswith(TARGET)
    if not is_target and not any(text.startswith("/") for text in texts):
        return values
    separator = "." if is_target else "/"
    parts = {text: text.split(separator) for text in texts}
    longest = max(map(len, parts.values()), default=1)
    count = next(n for n in range(1, longest + 1) if len({tuple(p[-n:]) for p in parts.values()}) == len(texts))
    return tuple(separator.join(parts[value][-count:]) if isinstance(value, str) else value for value in values)


def _merged(columns: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Settings that split the groups in the same way become one."""
    together: dict[tuple[int, ...], list[str]] = {}
    for key, values in columns.items():
        texts = [repr(value) for value in values]
        together.setdefault(tuple(texts.index(text) for text in texts), []).append(key)
    bundles = [_one_of(keys, columns) for keys in together.values()]
    shorts = [_short(keys) for keys, _ in bundles]
    return {
        short if shorts.count(short) == 1 else ", ".join(keys): values
        for short, (keys, values) in zip(shorts, bundles, strict=True)
    }


def _one_of(keys: list[str], columns: Mapping[str, tuple[Any, ...]]) -> tuple[list[str], tuple[Any, ...]]:
    # The class that is built stands for all the settings that come with it.
    targets = [key for key in keys if key.endswith(TARGET)]
    if targets or len(keys) > MAX_JOINED:
        first = min(targets or keys, key=lambda key: (key.count("."), key))
        return [first], columns[first]
    if len(keys) == 1:
        return keys, columns[keys[0]]
    rows = zip(*(columns[key] for key in keys), strict=True)
    return keys, tuple(", ".join(map(shown_value, row)) for row in rows)


def _short(keys: Sequence[str]) -> str:
    return ", ".join(key.removesuffix(f".{TARGET}").rpartition(".")[2] for key in keys)
