"""The results of a search: search.json and trials.csv in the sweep's folder, and two lines for the terminal."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orapo.display import spreadsheet_cell
from orapo.search.space import Plain
from orapo.search.study import REASON, Search
from orapo.whole_file import write_whole

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

RESULTS = "search.json"
TRIALS = "trials.csv"


def write_results(search: Search, metric: str, folder: Path) -> dict[str, Any]:
    """Writes both files whole or not at all, and returns the content of search.json."""
    trials = search.study.get_trials(deepcopy=False)
    write_whole(folder / TRIALS, _table(search, trials))
    content = {
        "study_name": search.study.study_name,
        "metric": metric,
        "direction": search.settings.direction,
        "n_trials": search.settings.n_trials,
        "counts": counts(trials),
        "best": _best(search, trials),
    }
    write_whole(folder / RESULTS, json.dumps(content, indent=2) + "\n")
    return content


def counts(trials: "list[FrozenTrial]") -> dict[str, int]:
    """The number of trials that finished, failed, and run or wait."""
    names = [trial.state.name for trial in trials]
    finished, failed = names.count("COMPLETE"), names.count("FAIL")
    return {"finished": finished, "failed": failed, "running": len(names) - finished - failed}


def results_text(content: dict[str, Any], folder: Path) -> str:
    """How far the search is, and the best trial with the overrides that repeat it."""
    told = content["counts"]
    waiting = f", {told['running']} to go on" if told["running"] else ""
    text = (
        f"Search: {told['finished']} of {content['n_trials']} trials finished, {told['failed']} failed{waiting}; "
        f"all in {folder / TRIALS}"
    )
    best = content["best"]
    if best is None:
        return text
    return (
        f"{text}\nBest: {content['metric']} {best['value']:.4g} in trial {best['trial']}: {' '.join(best['overrides'])}"
    )


def override(key: str, value: Plain) -> str:
    """A setting as Hydra's command line takes it."""
    return f"{key}={json.dumps(value) if not isinstance(value, str) else _quoted(value)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _best(search: Search, trials: "list[FrozenTrial]") -> dict[str, Any] | None:
    finished = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if not finished:
        return None
    choose = max if search.settings.direction == "maximize" else min
    best = choose(finished, key=lambda trial: trial.values[0])
    settings = search.values(best.params)
    return {
        "trial": best.number,
        "value": best.values[0],
        "overrides": [override(key, value) for key, value in settings.items()],
        "settings": settings,
    }


def _table(search: Search, trials: "list[FrozenTrial]") -> str:
    text = io.StringIO()
    keys = [key for dimension in search.space for key in dimension.keys]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("trial", "state", "value", *keys, "seconds", "reason"))
    for trial in trials:
        settings = search.values(trial.params)
        value = trial.values[0] if trial.values else ""
        seconds = "" if trial.duration is None else f"{trial.duration.total_seconds():.1f}"
        cells = (settings.get(key, "") for key in keys)
        row = (trial.number, _state(trial), value, *cells, seconds, trial.user_attrs.get(REASON, ""))
        writer.writerow(map(spreadsheet_cell, row))
    return text.getvalue()


def _state(trial: "FrozenTrial") -> str:
    return {"COMPLETE": "finished", "FAIL": "failed"}.get(trial.state.name, "running")
