"""Trained on A, measured by B: the effect of each reward on each measure, as difference from the base policy."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orapo.comparison.compare import Comparison
from orapo.comparison.groups import Group, score
from orapo.comparison.run_folder import Run
from orapo.comparison.significance import BOOTSTRAP
from orapo.comparison.statistics import Spread
from orapo.comparison.tables import ABSENT, Table, difference
from orapo.errors import DataError
from orapo.evaluation.clinical import reading_of
from orapo.evaluation.examiner import SCORE, system_measures
from orapo.evaluation.figures import INK, new_figure
from orapo.evaluation.report_pairs import ReportPair, read_report_pairs
from orapo.evaluation.resampling import Difference, Measures, mean_of, renamed
from orapo.evaluation.text_measures import OVERLAP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASE_REPORTS = "base_test_reports.jsonl"
NOTHING = "nothing"
"""Rewarded in a run that samples no reports, such as one by SFT."""

MARK = "◆"
COLUMNS_AT_ONCE = 4
"""Of a table, so that it fits a page and most terminals."""

_OVERLAP = (*OVERLAP, "attribute_f1")
_SHAPE = ("mean_words", "repetition", "empty_report_fraction")
_MEASURED_AS = {"rouge_l": "rouge_l", "bleu": "bleu_4", "chrf": "chrf", "attributes": "attribute_f1"}
"""Terms that the examiner measures under a name of its own."""


@dataclass(frozen=True)
class Crossed:
    """A group of runs that were rewarded alike.

    Attributes:
        rewarded: what for, or the group's label too where several groups were rewarded alike.
        measured_as: the measures that were rewarded.
        differences: trained minus base on the same studies, mean over the runs, by measure; the interval is over
            studies, the runs held fixed.
        seeds: the runs' own differences, by measure.
        num_studies: of the test.
        is_capped: whether there would have been more.
    """

    rewarded: str
    measured_as: frozenset[str]
    differences: Mapping[str, Difference]
    seeds: Mapping[str, Spread]
    num_studies: int
    is_capped: bool


@dataclass(frozen=True)
class CrossTable:
    """Rows and columns of the cross table.

    Attributes:
        rows: in the comparison's order.
        columns: measures that some row has.
        problems: groups that have no row, a line each.
    """

    rows: tuple[Crossed, ...]
    columns: tuple[str, ...]
    problems: tuple[str, ...]


def cross_table(comparison: Comparison) -> CrossTable:
    """Reads base and test reports of every finished run.

    Raises:
        DataError: no run has both.
    """
    rows, problems = [], []
    # A run that ended before its first step says nothing of its reward.
    labels = [rewarded((*group.finished, *group.runs)[0])[0] for group in comparison.groups]
    for group, label in zip(comparison.groups, labels, strict=True):
        if group.evaluation is not None:
            continue
        try:
            rows.append(_crossed(group, label if labels.count(label) == 1 else f"{label} ({group.label})"))
        except DataError as error:
            problems.append(str(error))
    if not rows:
        raise DataError(f"--cross needs a finished run with its base policy's reports: {'; '.join(problems)}")
    found = dict.fromkeys(name for row in rows for name in row.differences)
    return CrossTable(tuple(rows), tuple(sorted(found, key=_order)), tuple(problems))


def rewarded(run: Run) -> tuple[str, frozenset[str]]:
    """The reward of a run, and the names of the measures that it is."""
    if math.isnan(score(run, "reward")):
        return NOTHING, frozenset()
    start = "reward.terms."
    terms = {k.removeprefix(start): v for k, v in run.settings.items() if k.startswith(start) and v}
    if not terms:  # runs before rewards had terms
        terms = {"accuracy" if "accuracy" in str(run.settings.get("reward._target_")).lower() else "facts": 1.0}
    served = [key.split(".")[4] for key in run.settings if key.startswith("reward.term_settings.served.metrics.")]
    names = {_MEASURED_AS.get(term, f"{SCORE}reward_{term}") for term in terms}
    names |= {f"{SCORE}{metric}" for metric in served if "served" in terms}
    if len(terms) == 1:
        return next(iter(terms)), frozenset(names)
    return " + ".join(f"{weight:g} {term}" for term, weight in terms.items()), frozenset(names)


def _crossed(group: Group, label: str) -> Crossed:
    if not group.finished:
        raise DataError(f"{group.label}: no finished run")
    pairs = [_pairs(run) for run in group.finished]
    if len({tuple(pair.study_id for pair in own) for both in pairs for own in both}) > 1:
        raise DataError(f"{group.label}: its runs, or a run and its base policy, were tested on different studies")
    own, base = (
        [_measures(run, both[side]) for run, both in zip(group.finished, pairs, strict=True)] for side in (0, 1)
    )
    differences = BOOTSTRAP.differences(mean_of(own), mean_of(base))
    each = [(ours.values(), theirs.values()) for ours, theirs in zip(own, base, strict=True)]
    seeds = {name: Spread.of([ours[name] - theirs[name] for ours, theirs in each]) for name in differences}
    num_studies = len(pairs[0][0])
    first = group.finished[0]
    is_capped = first.settings.get("data.max_test_studies") == num_studies
    return Crossed(label, rewarded(first)[1], differences, seeds, num_studies, is_capped)


def _pairs(run: Run) -> tuple[list[ReportPair], list[ReportPair]]:
    """Reports after and before training, in the order of their studies."""
    if not (run.folder / BASE_REPORTS).is_file():
        raise DataError(f"{run.name} has no {BASE_REPORTS}")
    files = (run.reports, run.folder / BASE_REPORTS)
    after, before = (sorted(read_report_pairs(path), key=lambda pair: pair.study_id) for path in files)
    return after, before


def _measures(run: Run, pairs: list[ReportPair]) -> Measures:
    """The measures that have a column, by its name, which leaves out the run's reading of uncertain labels."""
    measures = system_measures(pairs)
    reading = f"{reading_of(run.settings.get('data.uncertain_is_positive') is True)}/all_14/"
    names = {}
    for name in measures.values():
        if name.endswith((f"{reading}macro/f1", f"{reading}micro/f1")):
            reader, own = name.split(reading)
            names[f"{reader}{own.replace('/', '_')}"] = name
        elif name in (*_OVERLAP, *_SHAPE) or name.startswith(SCORE):
            names[name] = name
    return renamed(measures, names)


def _order(name: str) -> tuple[int, str]:
    """Rewards' terms, then the labeler's and other readers' F1, text, other scores, shape."""
    kinds = (
        name.startswith(f"{SCORE}reward_"),
        name in ("macro_f1", "micro_f1"),
        name.endswith(("/macro_f1", "/micro_f1")),
        name in _OVERLAP,
        name.startswith(SCORE),
    )
    place = kinds.index(True) if True in kinds else len(kinds)
    return place, f"{_OVERLAP.index(name)}" if name in _OVERLAP else name


def heading(name: str) -> str:
    if name.startswith(f"{SCORE}reward_"):
        return f"term {name.removeprefix(f'{SCORE}reward_')}"
    return name.removeprefix(SCORE).replace("/", " ").replace("_", " ").replace(" f1", " F1")


def shown_tables(crossed: CrossTable, at_once: int = COLUMNS_AT_ONCE) -> Iterator[Table]:
    """The table in parts of ``at_once`` columns each."""
    for first in range(0, len(crossed.columns), at_once):
        columns = crossed.columns[first : first + at_once]
        is_last = first + at_once >= len(crossed.columns)
        yield Table(
            title="Rewarded (rows), measured (columns): trained minus base policy",
            rows=[
                {
                    "rewarded": row.rewarded,
                    "runs": str(max((spread.n for spread in row.seeds.values()), default=0)),
                    "studies": f"{row.num_studies}{' (capped)' if row.is_capped else ''}",
                    **{heading(name): _cell(row, name) for name in columns},
                }
                for row in crossed.rows
            ],
            texts=("rewarded",),
            marked=[
                (place, heading(name))
                for place, row in enumerate(crossed.rows)
                for name in columns
                if name in row.measured_as
            ],
            is_heat_map=True,
            notes=(_NOTE,) if is_last else (),
        )


_NOTE = (
    f"{MARK}: what was rewarded. Brackets: 95 % interval of the difference from 1,000 paired bootstrap resamples of "
    "the test studies, the runs held fixed; ±: SD over seeds. Terms are measured as reward=fact_score sets them."
)


def _cell(row: Crossed, name: str) -> str:
    if name not in row.differences:
        return ABSENT
    over_seeds = "" if math.isnan(row.seeds[name].sd) else f" ± {row.seeds[name].sd:.3f}"
    mark = f"{MARK} " if name in row.measured_as else ""
    return f"{mark}{difference(row.differences[name])}{over_seeds}"


def cross_figure(crossed: CrossTable) -> "Figure":
    """A heat map: colour by each column's largest difference, a frame round what was rewarded."""
    from matplotlib.patches import Rectangle

    rows, columns = crossed.rows, crossed.columns
    values = np.array(
        [[row.differences[name].value if name in row.differences else math.nan for name in columns] for row in rows]
    )
    largest = np.abs(np.nan_to_num(values)).max(axis=0)
    width, height = 3.0 + 0.78 * len(columns), 2.3 + 0.5 * len(rows)
    figure = new_figure(width, height)
    panel = figure.add_axes((2.4 / width, 0.55 / height, 0.78 * len(columns) / width, 0.5 * len(rows) / height))
    panel.imshow(values / np.where(largest > 0, largest, 1.0), cmap="PuOr_r", vmin=-2.2, vmax=2.2, aspect="auto")
    for place, row in enumerate(rows):
        for column, name in enumerate(columns):
            if name in row.differences:
                found = row.differences[name]
                weight = "bold" if found.low > 0 or found.high < 0 else "normal"
                digits = 1 if abs(found.value) >= 10 else 2 if abs(found.value) >= 1 else 3
                text = f"{found.value:+.{digits}f}"
                panel.text(column, place, text, ha="center", va="center", fontsize=8, color=INK, weight=weight)
            if name in row.measured_as:
                frame = Rectangle((column - 0.47, place - 0.46), 0.94, 0.92, fill=False, ec="black", lw=1.8)
                panel.add_patch(frame)
    panel.set_yticks(range(len(rows)), [_short(row.rewarded) for row in rows], fontsize=8.5)
    panel.set_xticks(range(len(columns)), [heading(name) for name in columns], fontsize=8.5, rotation=40, ha="left")
    panel.xaxis.tick_top()
    panel.tick_params(length=0, colors=INK)
    for side in panel.spines.values():
        side.set_visible(False)
    told = "Trained minus base policy. Framed: what was rewarded. Bold: the interval over studies excludes 0."
    figure.text(0.1 / width, 0.3 / height, told, fontsize=8, color=INK)
    told = "Colour: share of the column's largest difference, orange up, purple down; columns don't compare."
    figure.text(0.1 / width, 0.1 / height, told, fontsize=8, color=INK)
    return figure


def _short(text: str, longest: int = 34) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
