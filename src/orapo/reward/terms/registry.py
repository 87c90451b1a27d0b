"""The interface of a reward's terms, and their names in a config; docs/extending.md shows how to write one."""

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
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.llm.prompts import Request
from orapo.reward.protocol import Judge, PendingRewards
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
        judge: who reads the facts; a term that asks a language model asks it by the ``client`` of an ``LlmJudge``.
    """

    reports: Sequence[str]
    studies: Sequence[Study]
    judged: PendingRewards
    judge: Judge


class PendingValues(Protocol):
    """Values that are computed while the caller does something else."""

    def result(self) -> Sequence[Value]:
        """Waits for all values; one per report, in order. Whether one is None may depend on its study alone.

        Raises:
            RunPaused: the model or server can't answer now, and the settings say to wait.
        """
        ...


class Term(Protocol):
    """One weighted part of the reward."""

    @property
    def zero_at_most(self) -> float | None:
        """A value of at most this counts as a reward of zero, equation (8); None where the term doesn't define it."""
        ...

    @property
    def needs_judge(self) -> bool:
        """Whether the term reads the judge's facts, so that a judge that costs something must be asked."""
        ...

    def start(self, written: Written) -> PendingValues:
        """Starts; a term that asks over a network returns at once, one that computes does so in ``result``."""
        ...


@runtime_checkable
class CountingTerm(Protocol):
    """A term with costs: its methods are those of a ``Judge``, and every number adds up over processes."""

    def totals(self) -> Mapping[str, float]:
        """The totals so far, under the names of a judge's totals."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know: numbers by name."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        ...


@runtime_checkable
class AskingTerm(Protocol):
    """A term that may ask a language model: the client of ``Written.judge``, an ``LlmJudge``."""

    @property
    def asks_model(self) -> bool:
        """Whether its settings make it ask a language model."""
        ...

    def questions(self, judge: LlmJudge, report: str, oracle_report: str) -> Sequence[Request]:
        """The requests for one generated report, to estimate costs."""
        ...


class PerReport(ABC):
    """A term that is computed in this process, report by report, when its values are asked for."""

    zero_at_most: ClassVar[float | None] = None
    needs_judge: ClassVar[bool] = False

    @abstractmethod
    def value(self, report: str, study: Study) -> float | None:
        """In [0, 1] for one generated report; None where the study alone leaves it undefined."""

    def start(self, written: Written) -> PendingValues:
        """Computes nothing yet, so that remote work continues meanwhile."""
        return Later(lambda: [self.value(*pair) for pair in zip(written.reports, written.studies, strict=True)])


@dataclass(frozen=True, slots=True)
class Later:
    """Values that are computed when the result is asked for."""

    compute: Callable[[], Sequence[Value]]

    def result(self) -> Sequence[Value]:
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
    """Imports every module of this folder, and the user's, so that their terms are known.

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
    """Builds a term by its name.

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
    *,
    has_model: bool = False,
) -> None:
    """Checks names and settings of a reward's terms, as ``WeightedReward`` takes them; sends no request.

    Raises:
        SettingError: an unknown term or setting, a value out of range, or a term that asks a language model where the
            reward has none.
    """
    load_terms(modules)
    given = term_settings or {}
    for key, names in (("reward.terms", terms), ("reward.term_settings", given)):
        for name in names:
            require_term(key, name)
    for name in {name: None for name in (*terms, *given) if terms.get(name) or name in given}:
        term = make_term(name, given.get(name) or {})
        if terms.get(name) and not has_model:
            refuse_without_model(name, term)


def asks_model(term: Term) -> bool:
    """Whether the term needs a language model."""
    return isinstance(term, AskingTerm) and term.asks_model


def refuse_without_model(name: str, term: Term) -> None:
    """Refuses a term that asks a language model.

    Raises:
        SettingError: says which reward has one.
    """
    if asks_model(term):
        raise SettingError(
            f"reward.terms.{name} asks a language model, and this reward has none; take reward=fact_score_llm, or "
            f"reward=fact_score_llm reward.stages=offline to have it asked by {name} alone"
        )


def require_term(key: str, name: str) -> None:
    """Refuses a name that no term has.

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
