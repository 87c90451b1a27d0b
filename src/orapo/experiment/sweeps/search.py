"""A search as a sweep: which settings vary, how trials become jobs, and how their results are reported."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf

from orapo.comparison.run_state import RunState
from orapo.errors import SettingError
from orapo.experiment.sweeps.earlier_jobs import compared_settings
from orapo.experiment.sweeps.jobs import JobOutcome, SweepJobs
from orapo.search.results import override, results_text, write_results
from orapo.search.space import Dimension, read_space
from orapo.search.study import Search, Trial


def fixed_and_swept(
    arguments: Sequence[str], space: Mapping[str, Any], loader: ConfigLoader
) -> tuple[list[str], tuple[Dimension, ...]]:
    """The overrides that all trials share, and the space; the command line wins over the config's.

    Raises:
        SettingError: a sweep that is no choice and no interval, or a space that is none.
    """
    fixed: list[str] = []
    told = dict(space)
    for given in OverridesParser.create(config_loader=loader).parse_overrides(list(arguments)):
        key = given.get_key_element()
        told = _without(told, key.lstrip("+~"))
        if given.is_sweep_override():
            told[key] = _range(given)
        else:
            fixed.append(str(given.input_line))
    return fixed, read_space(told)


def _without(space: Mapping[str, Any], key: str) -> dict[str, Any]:
    for name in space:
        keys = [part.strip() for part in name.split(",")]
        if key in keys and len(keys) > 1:
            raise SettingError(f"{key} is drawn together with {name.replace(key, '').strip(', ')}; give all or none")
    return {name: described for name, described in space.items() if name.lstrip("+~") != key}


def _range(given: Override) -> dict[str, list[Any]]:
    swept: Any = given.value()
    if isinstance(swept, IntervalSweep):
        # Hydra's annotations know floats only, its grammar keeps whole numbers whole.
        bounds: list[Any] = [swept.start, swept.end]
        is_whole = all(isinstance(bound, int) for bound in bounds)
        kind = "log" if "log" in swept.tags else "int" if is_whole else "float"
        return {kind: bounds}
    if isinstance(swept, ChoiceSweep):
        # Texts come back as the grammar's own quoted strings.
        return {"choices": [getattr(value, "text", value) for value in swept.list]}
    raise SettingError(
        f"{given.input_line}: a search takes values with commas, interval(a,b) or tag(log,interval(a,b))"
    )


def overrides_of_a_point(space: Sequence[Dimension]) -> list[str]:
    """A point of the space, to check that the config accepts it."""
    settings: dict[str, Any] = {}
    for dimension in space:
        first = dimension.values[0]
        settings |= dict(zip(dimension.keys, first if len(dimension.keys) > 1 else [first], strict=True))
    return [override(key, value) for key, value in settings.items()]


def described_config(config: DictConfig) -> dict[str, Any]:
    """The config that all trials share, flat and uninterpolated: interpolations may need what only a job has."""
    content = OmegaConf.to_container(config, resolve=False)
    assert isinstance(content, dict)
    return compared_settings({str(key): value for key, value in content.items() if key != "hydra"})


def run_search(search: Search, jobs: SweepJobs, fixed: list[str], config: DictConfig) -> dict[str, Any]:
    """Runs the remaining trials; writes the results after every batch.

    Returns:
        The content of search.json.
    """
    metric = str(config.get("optimized_metric", "value") or "macro_f1 (of questions accuracy)")
    content = write_results(search, metric, jobs.folder)
    while batch := search.batch():
        for together in _consecutive(batch):
            overrides = [[*fixed, *(override(key, value) for key, value in t.settings.items())] for t in together]
            for trial, outcome in zip(together, jobs.run(overrides, together[0].number), strict=True):
                _tell(search, trial, outcome, jobs)
            content = write_results(search, metric, jobs.folder)
    print(results_text(content, jobs.folder))
    return content


def _tell(search: Search, trial: Trial, outcome: JobOutcome, jobs: SweepJobs) -> None:
    if outcome.state is RunState.PAUSED:
        # The trial continues when the sweep is resumed.
        return
    if (reason := search.tell(trial.number, outcome.value, outcome.reason)) and not outcome.reason:
        jobs.add_failure(outcome, reason)


def _consecutive(batch: Iterable[Trial]) -> list[list[Trial]]:
    """Splits trials where their numbers have gaps: a launcher counts its jobs from the first number on."""
    parts: list[list[Trial]] = []
    for trial in batch:
        if parts and parts[-1][-1].number + 1 == trial.number:
            parts[-1].append(trial)
        else:
            parts.append([trial])
    return parts
