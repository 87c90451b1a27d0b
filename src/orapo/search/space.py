"""The space of a search: for each setting a range or a list of choices."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import PositiveFloat

from orapo.errors import SettingError
from orapo.settings import read, settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SIGNIFICANT_DIGITS = 6
"""Of a drawn number as the job is given it."""

Plain = bool | int | float | str | None


@settings
class FloatRange:
    """Numbers between two ends, both included."""

    lowest: float
    highest: float

    def __post_init__(self) -> None:
        if self.lowest >= self.highest:
            raise SettingError(f"lowest is {self.lowest:g}; it must be below highest, {self.highest:g}")


@settings
class LogRange(FloatRange):
    """Real numbers on a logarithmic scale, above 0."""

    lowest: PositiveFloat
    highest: PositiveFloat


@settings
class IntRange(FloatRange):
    """Integers."""

    lowest: int
    highest: int


RANGES: dict[str, type[FloatRange]] = {"float": FloatRange, "log": LogRange, "int": IntRange}
KINDS = (*RANGES, "choices")


@dataclass(frozen=True)
class Dimension:
    """One setting, or several that are drawn together.

    Attributes:
        keys: of the config; several take the parts of a choice.
        kind: "float" and "log" (uniform in the logarithm) are numbers between two bounds, "int" whole ones; "choices"
            a list.
        values: lowest and highest, both included; or the choices, each a list of as many values as there are keys.
    """

    keys: tuple[str, ...]
    kind: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        where = f"space {self.name}"
        if self.kind not in KINDS:
            raise SettingError(f"{where}: {self.kind!r} is no kind of range; allowed: {', '.join(KINDS)}")
        if self.kind == "choices":
            self._check_choices(where)
            return
        if len(self.keys) > 1 or len(self.values) != 2:
            raise SettingError(
                f"{where} is {list(self.values)!r}; {self.kind} takes one key, the lowest and the highest"
            )
        read(RANGES[self.kind], dict(zip(("lowest", "highest"), self.values, strict=True)), where)

    def _check_choices(self, where: str) -> None:
        if not self.values:
            raise SettingError(f"{where} has no choices")
        if len({json.dumps(value) for value in self.values}) < len(self.values):
            raise SettingError(f"{where} is {list(self.values)!r}; a choice stands there twice")
        for value in self.values:
            if len(self.keys) > 1 and (not isinstance(value, list) or len(value) != len(self.keys)):
                raise SettingError(
                    f"{where}: the choice {value!r} must be a list of {len(self.keys)} values, one a key"
                )
            if any(not isinstance(part, Plain) for part in (value if len(self.keys) > 1 else [value])):
                raise SettingError(f"{where}: the choice {value!r} must be a number, a text, true, false or null")

    @property
    def name(self) -> str:
        """The keys, joined as the config writes them."""
        return ",".join(self.keys)

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choices":
            return CategoricalDistribution([self._label(value) for value in self.values])
        low, high = self.values
        if self.kind == "int":
            return IntDistribution(low, high)
        return FloatDistribution(float(low), float(high), log=self.kind == "log")

    def settings(self, drawn: Any) -> dict[str, Plain]:
        """Each key's value, from what the study holds."""
        if self.kind in ("float", "log"):
            return {self.keys[0]: float(f"{drawn:.{SIGNIFICANT_DIGITS}g}")}
        if self.kind == "int":
            return {self.keys[0]: int(drawn)}
        chosen = next(value for value in self.values if self._label(value) == drawn)
        return dict(zip(self.keys, chosen if len(self.keys) > 1 else [chosen], strict=True))

    def _label(self, value: Any) -> Plain:
        # A study holds plain values only.
        return json.dumps(value) if isinstance(value, list) else value


def read_space(content: Mapping[str, Any]) -> tuple[Dimension, ...]:
    """The space as the config writes it: ``objective.alpha: {float: [0.0, 0.9]}``.

    Keys that are drawn together stand in one, ``objective.w_min,objective.w_max: {choices: [[0.0, 0.1], [0.1, 0.3]]}``.

    Raises:
        SettingError: no key, a key twice, or a range that is none.
    """
    dimensions = [_dimension(name, described) for name, described in content.items()]
    keys = [key for dimension in dimensions for key in dimension.keys]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise SettingError(f"space: {twice[0]} stands there twice")
    if not keys:
        raise SettingError("space is empty; a search needs a setting to vary, as in conf/sweep/search.yaml")
    return tuple(dimensions)


def _dimension(name: str, described: Any) -> Dimension:
    is_one = isinstance(described, Mapping) and len(described) == 1
    kind, values = next(iter(described.items())) if is_one else ("", None)
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise SettingError(
            f"space {name} is {described!r}; it must be one of {', '.join(KINDS)} with a list, as in {{float: [0, 1]}}"
        )
    return Dimension(tuple(key.strip() for key in name.split(",")), str(kind), tuple(values))
