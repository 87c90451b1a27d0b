"""What a term of a reward is, and by which name a config finds it: docs/extending.md has a term of one's own."""

import difflib
import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import orapo.reward.terms
from orapo.errors import SettingError
from orapo.records import FailedJudgement, Study
from orapo.reward.protocol import PendingRewards
from orapo.settings import is_settings, read

Value = float | None | FailedJudgement
"""In [0, 1]; None where the study leaves the term undefined; or why the report could not be read."""


@dataclass(frozen=True, slots=True)
class Written:
    """Generated reports that are to be rewarded.

    Attributes:
        reports: may be empty texts.
        studies: one per report, repeated for each rollout.
        judged: the judge's FactS breakdowns, one per report; asked for by ``result()``, which waits.
    """

    reports: Sequence[str]
    studies: Sequence[Study]
    judged: PendingRewards


class PendingValues(Protocol):
    """Values that may be on their way while the caller does something else."""

    def result(self) -> Sequence[Value]:
        """Waits for the last one; one per report, in order. Whether one is None may depend on its study alone.

        Raises:
            RunPaused: whoever is asked can't answer now, and the settings say to wait.
        """
        ...


class Term(Protocol):
    """One thing that a report is paid for."""

    @property
    def zero_at_most(self) -> float | None:
        """A value of at most this counts as a reward of zero, equation (8); None where the term doesn't say."""
        ...

    @property
    def needs_judge(self) -> bool:
        """Whether the judge's facts are read, so that a judge that costs something must be asked."""
        ...

    def start(self, written: Written) -> PendingValues:
        """Begins; whoever asks over a network returns at once, and whoever computes does so in ``result``."""
        ...


@runtime_checkable
class CountingTerm(Protocol):
    """A term that costs something: the methods are those of a ``Judge``, every number adds up over processes."""

    def totals(self) -> Mapping[str, float]:
        """What it has taken so far, by the names of a judge's totals."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know, numbers by name."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from ``state_dict``."""
        ...


class PerReport(ABC):
    """A term that is computed here, report by report, when its values are asked for."""

    zero_at_most: ClassVar[float | None] = None
    needs_judge: ClassVar[bool] = False

    @abstractmethod
    def value(self, report: str, study: Study) -> float | None:
        """In [0, 1] for one generated report; None where the study alone leaves it undefined."""

    def start(self, written: Written) -> PendingValues:
        """Nothing yet: what others compute elsewhere goes on meanwhile."""
        return Later(lambda: [self.value(*pair) for pair in zip(written.reports, written.studies, strict=True)])


@dataclass(frozen=True, slots=True)
class Later:
    """Values that are computed when they are asked for."""

    compute: Callable[[], Sequence[Value]]

    def result(self) -> Sequence[Value]:
        """Computes them."""
        return self.compute()


Factory = TypeVar("Factory", bound=Callable[..., Term])

_FACTORIES: dict[str, Callable[..., Term]] = {}


def register(name: str) -> Callable[[Factory], Factory]:
    """Makes a term known by this name; its constructor's arguments are its settings.

    Raises:
        SettingError: the name is no plain word, or is another term's.
    """
    if not name.isidentifier():
        raise SettingError(f"the name of a reward term is {name!r}; it must be a word of letters, digits and _")

    def add(factory: Factory) -> Factory:
        known = _FACTORIES.get(name)
        if known is not None and known.__module__ != factory.__module__:
            raise SettingError(f"reward term {name} of {factory.__module__} is one of {known.__module__} already")
        _FACTORIES[name] = factory
        return factory

    return add


def load_terms(modules: Iterable[str] = ()) -> None:
    """Imports every module of this folder, and those of one's own, so that their terms are known.

    Raises:
        SettingError: a module can't be imported.
    """
    for found in pkgutil.iter_modules(orapo.reward.terms.__path__):
        importlib.import_module(f"{orapo.reward.terms.__name__}.{found.name}")
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever the user's module does
            reason = " ".join(str(error).split())
            raise SettingError(f"reward.modules names {name!r}, which can't be imported: {reason}") from error


def make_term(name: str, settings: Mapping[str, Any]) -> Term:
    """A term by its name.

    Raises:
        SettingError: an unknown name or setting, a missing setting, or a value out of range.
    """
    require_term("reward.zero_term", name)
    factory, prefix = _FACTORIES[name], f"reward.term_settings.{name}"
    if is_settings(factory):
        made: Term = read(factory, settings, prefix)  # type: ignore[arg-type]
        return made
    parameters = inspect.signature(factory).parameters
    for key in settings:
        _require_known(prefix, str(key), parameters)
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in settings:
            raise SettingError(f"{prefix}.{key} is missing; the term {name} needs it")
    return factory(**settings)


def check_terms(
    terms: Mapping[str, float],
    term_settings: Mapping[str, Mapping[str, Any]] | None = None,
    modules: Iterable[str] = (),
) -> None:
    """Checks names and settings of a reward's terms, as ``WeightedReward`` takes them, and asks nobody.

    Raises:
        SettingError: an unknown term or setting, or a value out of range.
    """
    load_terms(modules)
    given = term_settings or {}
    for key, names in (("reward.terms", terms), ("reward.term_settings", given)):
        for name in names:
            require_term(key, name)
    for name in {name: None for name in (*terms, *given) if terms.get(name) or name in given}:
        make_term(name, given.get(name) or {})


def require_term(key: str, name: str) -> None:
    """Refuses a name by which no term is known.

    Raises:
        SettingError: names the nearest term and all that are known.
    """
    _require_known(key, name, _FACTORIES)


def _require_known(prefix: str, name: str, known: Iterable[str]) -> None:
    known = sorted(known)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise SettingError(f"{prefix}.{name} is not a setting{hint}; allowed: {', '.join(known) or 'none'}")
