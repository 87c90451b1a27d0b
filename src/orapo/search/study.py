"""The trials of a search in a database: points proposed, points still to run, results."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from orapo.errors import SettingError
from orapo.search.space import Dimension, Plain
from orapo.settings import settings

if TYPE_CHECKING:
    import optuna

DATABASE = "search.sqlite"
REASON = "reason"
SETTINGS = "settings"
LOCK_SECONDS = 60
"""How long to wait for another process that writes the SQLite file."""


@settings
class SearchSettings:
    """What a search is, apart from its space.

    Attributes:
        n_trials: finished and failed ones together, at least 1.
        direction: "maximize" or "minimize".
        seed: of the draws, at least 0; each trial's own follows from it and the trial's number.
        n_startup_trials: drawn at random before the model of good settings begins, at least 1.
        parallel_trials: asked for at a time, at least 1.
        storage: Optuna's URL of a database; None is an SQLite file in the sweep's folder.
        study_name: of the search in that database.
    """

    n_trials: PositiveInt
    direction: Literal["maximize", "minimize"]
    seed: NonNegativeInt
    n_startup_trials: PositiveInt
    parallel_trials: PositiveInt
    storage: str | None
    study_name: str


@dataclass(frozen=True)
class Trial:
    """One point to try: its number and its settings."""

    number: int
    settings: Mapping[str, Plain]


class Search:
    """Proposes points and records their results; a killed search continues where it was.

    A trial that was running when the process died is asked for again, with the same number and the same settings.
    """

    def __init__(self, study: "optuna.Study", space: tuple[Dimension, ...], settings: SearchSettings) -> None:
        """Continues ``study``, which may be empty."""
        from optuna.trial import TrialState

        self.study = study
        self.space = space
        self.settings = settings
        self._interrupted = [
            trial._trial_id for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ]
        self._open: dict[int, optuna.trial.Trial] = {}

    def batch(self) -> list[Trial]:
        """The next trials, interrupted ones first; empty when all ``n_trials`` have been asked for."""
        asked: list[Trial] = []
        while len(asked) < self.settings.parallel_trials and (trial := self._ask()) is not None:
            drawn = {d.name: trial._suggest(d.name, d.distribution()) for d in self.space}
            self._open[trial.number] = trial
            asked.append(Trial(trial.number, self.values(drawn)))
        return sorted(asked, key=lambda trial: trial.number)

    def values(self, drawn: Mapping[str, Any]) -> dict[str, Plain]:
        """Each key's value; a process that died while it drew leaves a trial with a part of its settings."""
        dimensions = [dimension for dimension in self.space if dimension.name in drawn]
        return {key: value for d in dimensions for key, value in d.settings(drawn[d.name]).items()}

    def _ask(self) -> "optuna.trial.Trial | None":
        import optuna

        num_trials = len(self.study.get_trials(deepcopy=False))
        if self._interrupted:
            trial_id = self._interrupted.pop(0)
            # What it had drawn stays; what it had not is drawn now.
            return optuna.trial.Trial(self.study, trial_id)
        if num_trials >= self.settings.n_trials:
            return None
        self.study.sampler = _sampler(self.settings, num_trials)
        return self.study.ask()

    def tell(self, number: int, value: Any, reason: str = "") -> str:
        """Records the end of a trial.

        Args:
            number: of the trial.
            value: of the metric; anything but a finite number makes the trial a failed one.
            reason: one line, why there is no value.

        Returns:
            The reason of the failure; empty for a trial that has a value.
        """
        from optuna.trial import TrialState

        trial = self._open.pop(number)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if is_number:
            self.study.tell(trial, float(value))
            return ""
        reason = reason or f"the job returned {value!r}, a finite number is needed"
        trial.set_user_attr(REASON, reason)
        self.study.tell(trial, state=TrialState.FAIL)
        return reason


def _sampler(settings: SearchSettings, number: int) -> "optuna.samplers.BaseSampler":
    import numpy as np
    from optuna.samplers import TPESampler

    # A generator seeded again would repeat its first points after every restart.
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    return TPESampler(seed=seed, n_startup_trials=settings.n_startup_trials, constant_liar=settings.parallel_trials > 1)


def open_search(
    folder: Path, space: tuple[Dimension, ...], settings: SearchSettings, described: Mapping[str, Any]
) -> Search:
    """Opens the database and the study in it, making what isn't there.

    Args:
        folder: of the sweep, existing.
        space: of the search.
        settings: of the search.
        described: everything else that a trial's result depends on, flat; a search continues only with the same.

    Raises:
        SettingError: Optuna or a driver is missing, the database can't be reached, or the study is another search.
    """
    try:
        import optuna
        from sqlalchemy.exc import SQLAlchemyError
    except ModuleNotFoundError as error:
        raise SettingError(f"a search needs the extra `sweeps` ({error}): pip install 'orapo[sweeps]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = settings.storage or f"sqlite:///{folder.resolve() / DATABASE}"
    try:
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(url, engine_kwargs=_engine(url)),
            study_name=settings.study_name,
            direction=settings.direction,
            load_if_exists=True,
        )
    except (SQLAlchemyError, ImportError, optuna.exceptions.StorageInternalError) as error:
        # The error's own words may hold the URL, and with it a password.
        raise SettingError(
            f"hydra.sweeper.storage can't be opened ({type(_root(error)).__name__}); it must be null or the URL of a "
            "database that answers, as postgresql+psycopg://USER@HOST/NAME (extra `postgres`)"
        ) from error
    _refuse_another_search(study, {**described, **_described(space, settings)})
    return Search(study, space, settings)


def _engine(url: str) -> dict[str, Any]:
    return {"connect_args": {"timeout": LOCK_SECONDS}} if url.startswith("sqlite") else {"pool_pre_ping": True}


def _root(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _root(error.__cause__)


def _described(space: tuple[Dimension, ...], settings: SearchSettings) -> dict[str, Any]:
    ranges = {f"space {dimension.name}": [dimension.kind, *dimension.values] for dimension in space}
    return {**ranges, "direction": settings.direction, "seed": settings.seed}


def _refuse_another_search(study: "optuna.Study", described: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(described, default=str))
    before = study.user_attrs.get(SETTINGS)
    if before is None:
        study.set_user_attr(SETTINGS, now)
        return
    for key in (*now, *before):
        if now.get(key, "absent") != before.get(key, "absent"):
            raise SettingError(
                f"the search {study.study_name!r} was begun with {key} = {before.get(key, 'absent')!r}, now it is "
                f"{now.get(key, 'absent')!r}; start a new sweep"
            )
