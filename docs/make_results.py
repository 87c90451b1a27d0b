"""The laboratory's tables and pictures, from scores alone: ``python docs/make_results.py``.

    python docs/make_results.py keep FOLDER/QUESTION/ROW-SEED ...   # adds finished runs to docs/laboratory
    python docs/make_results.py                                     # the tables in docs/results.md, and its pictures

A kept run is one JSON file without a report's words: what was run, its curves, and of every test study the label states
that two readers read in the generated report, its terms and its shape. The true labels are the phantoms' own.
"""

import csv
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation, positive_observations
from orapo.comparison import tables
from orapo.comparison.cross import Crossed, CrossTable, cross_figure
from orapo.comparison.groups import Group
from orapo.comparison.pictures import curves_figure
from orapo.comparison.run_folder import Run, flat_settings
from orapo.comparison.run_state import RunState
from orapo.comparison.significance import BOOTSTRAP
from orapo.comparison.statistics import Spread, holm, paired_t_test
from orapo.data.phantoms import PhantomSource
from orapo.evaluation.clinical import clinical_measures
from orapo.evaluation.figures import save_figure
from orapo.evaluation.report_pairs import ReportPair, read_report_pairs
from orapo.evaluation.resampling import Array, Measures, joined, mean_of, mean_of_defined, ratio_of_sums, renamed
from orapo.evaluation.text_measures import mean_measures
from orapo.experiment.config import build
from orapo.foreign import read_json, read_yaml
from orapo.measures.attributes import attribute_agreement, attribute_pairs
from orapo.measures.rouge import ROUGE, rouge_scores
from orapo.measures.words import normalised, repetition
from orapo.records import Split

DOCS = Path(__file__).resolve().parent
KEPT = DOCS / "laboratory"
PAGE = DOCS / "results.md"
READING = "uncertain_not_positive"
SECOND = "phantom_grammar"
LETTERS = {
    LabelState.POSITIVE: "+",
    LabelState.NEGATIVE: "-",
    LabelState.UNCERTAIN: "?",
    LabelState.UNMENTIONED: ".",
}
STATES = {letter: state for state, letter in LETTERS.items()}
CURVES = ("reward", "zero_reward_rate", "mixing_weight", "reward_precision", "completion_tokens", "kl")
TERMS = ("facts", "attributes", "rouge_l", "accuracy")
STEPS_A_POINT = 10
"""A training curve is kept as the means of so many steps."""

WITHHELD = (
    Observation.LUNG_LESION,
    Observation.CONSOLIDATION,
    Observation.PNEUMONIA,
    Observation.PNEUMOTHORAX,
    Observation.PLEURAL_OTHER,
    Observation.FRACTURE,
)
SHOWN = tuple(one for one in OBSERVATIONS if one not in (*WITHHELD, Observation.NO_FINDING))
"""What the laboratory's bases have seen on images beside the words for it, and what they haven't."""

Test = Mapping[str, Any]
"""The kept columns of one system's reports, one value a study."""


# ---- keeping


def keep(folder: Path) -> None:
    """Writes what stays of a finished run: ``QUESTION/ROW-SEED.json``, and its base's reports once."""
    settings = read_yaml(folder / "config.yaml")
    summary = read_json(folder / "summary.json")
    model, data = settings["model"]["path"]["_target_"].split(".")[-2], _data_of(settings)
    base = KEPT / "base" / f"{model}-{data}.json"
    first = folder / "first"
    kept = {
        "overrides": [_without_folder(each) for each in read_json(folder / "run_state.json")["overrides"]],
        "seed": settings["seed"],
        "base": base.stem,
        "data": data,
        "git_commit": summary["git_commit"],
        "trained_on": _trained_on(folder / "subset.json", data),
        "seconds": {name: round(value, 1) for name, value in summary["seconds"].items()},
        "summary": {side: _short(summary[side]) for side in ("base", "trained", "shuffled_images")},
        "training": _means(folder / "metrics.csv", CURVES),
        "first_training": _means(first / "metrics.csv", CURVES) if first.is_dir() else None,
        "validation": _columns(folder / "validation.csv", ("macro_f1", "shuffled_macro_f1")),
        "test": test_columns(read_report_pairs(folder / "test_reports.jsonl")),
    }
    _write(KEPT / folder.parent.name / f"{folder.name}.json", kept)
    if first.is_dir():
        return  # what it started from is no base but the model that its first stage left
    before = test_columns(read_report_pairs(folder / "base_test_reports.jsonl"))
    if base.exists() and read_json(base)["test"] != before:
        sys.exit(f"{folder}: its base wrote other reports than the base of runs that were kept before")
    _write(base, {"data": data, "test": before})


def test_columns(pairs: Sequence[ReportPair]) -> dict[str, list[Any]]:
    """The columns of a system's reports, in the order of the studies' ids."""
    pairs = sorted(pairs, key=lambda pair: pair.study_id)
    texts = [(pair.generated_report, pair.oracle_report) for pair in pairs]
    words = [[normalised(report).split() for report in reports] for reports in zip(*texts, strict=True)]
    terms = {
        **{name: [pair.scores[f"reward_{name}"] for pair in pairs] for name in ("facts", "accuracy")},
        "rouge_l": [scores[ROUGE.index("rouge_l")] for scores in rouge_scores(*words)],
        "attributes": [attribute_agreement(*pair).f1 for pair in texts],
    }
    return {
        "study": [int(pair.study_id.rpartition("-")[2]) for pair in pairs],
        "states": [_letters(pair.generated_states) for pair in pairs],
        "second": [_letters(pair.readings[SECOND].states) for pair in pairs],
        "words": [len(pair.generated_report.split()) for pair in pairs],
        "repetition": [round(repetition(pair.generated_report), 4) for pair in pairs],
        **{name: list(map(_rounded, terms[name])) for name in TERMS},
        **{kind: [list(right_of(pair, kinds)) for pair in pairs] for kind, kinds in KINDS.items()},
    }


KINDS: Mapping[str, tuple[str, ...]] = {"side": ("side",), "severity": ("severity", "size")}


def right_of(pair: ReportPair, kinds: Sequence[str]) -> tuple[int, int]:
    """Findings that both reports affirm, and of which the oracle report states this kind: how many are right, and all.

    Right is a finding of which the generated report states the same, no more and no less: both sides if bilateral.
    """
    told, true = attribute_pairs(pair.generated_report), attribute_pairs(pair.oracle_report)
    right = stated = 0
    for finding in OBSERVATIONS:
        if {pair.oracle_states[finding], pair.generated_states[finding]} == {LabelState.POSITIVE}:
            wanted, got = (
                {each.value for each in pairs if each.finding is finding and each.kind in kinds}
                for pairs in (true, told)
            )
            stated += bool(wanted)
            right += bool(wanted) and wanted == got
    return right, stated


def _data_of(settings: Mapping[str, Any]) -> str:
    """The name in conf/data of the phantoms that a run was tested on."""
    source = settings["data"]["source"]
    return "phantoms" if source.get("wording", "plain") == "plain" else f"phantoms_{source['wording']}"


def _without_folder(override: str) -> str:
    """A path's last part alone: the folders are one machine's."""
    key, _, value = override.rpartition("=")
    return f"{key}={Path(value).name}" if value.startswith("/") else override


def _trained_on(manifest: Path, data: str) -> dict[str, float]:
    """Shares of the training studies that have a withheld finding, and that have none but devices."""
    studies = map(_source(data).read, read_json(manifest)["study_ids"])
    present = [positive_observations(study.labels, uncertain_is_positive=False) for study in studies]
    return {
        "withheld": round(sum(bool(found & set(WITHHELD)) for found in present) / len(present), 4),
        "none": round(sum(Observation.NO_FINDING in found for found in present) / len(present), 4),
    }


def _short(system: Mapping[str, Any]) -> dict[str, Any]:
    clinical = system["clinical"]
    return {average: {k: round(v, 5) for k, v in clinical[average].items()} for average in ("macro", "micro")}


def _columns(path: Path, keys: Sequence[str]) -> dict[str, list[float | None]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        "step": [int(row["step"]) for row in rows],
        **{key: [_rounded(float(row[key] or "nan")) for row in rows] for key in keys},
    }


def _means(path: Path, keys: Sequence[str]) -> dict[str, list[float | None]]:
    """Each column's means over ``STEPS_A_POINT`` steps, at the last of them; None where a column is empty."""
    columns = _columns(path, keys)
    places = range(STEPS_A_POINT, len(columns["step"]) + 1, STEPS_A_POINT)
    means: dict[str, list[float | None]] = {"step": [columns["step"][end - 1] for end in places]}
    for key in keys:
        values = [[v for v in columns[key][end - STEPS_A_POINT : end] if v is not None] for end in places]
        means[key] = [_rounded(sum(own) / len(own)) if own else None for own in values]
    return means


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(f"{value:.4g}")


def _letters(states: LabelStates) -> str:
    return "".join(LETTERS[states[observation]] for observation in OBSERVATIONS)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in content.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


# ---- reading


@dataclass(frozen=True)
class Row:
    """The kept runs of one row of a question, one a seed."""

    runs: tuple[Mapping[str, Any], ...]

    def measures(self) -> Measures:
        """The mean over the runs."""
        return mean_of([measures(run["test"], run["data"]) for run in self.runs])

    def base(self) -> Measures:
        """The base's, of each run."""
        return mean_of([_base(run["base"]) for run in self.runs])

    def gain(self) -> Measures:
        """Trained minus base, of each measure, the mean over the runs."""
        trained, base = self.measures(), self.base()
        width = trained.columns.shape[1]

        def from_sums(sums: Array) -> dict[str, Array]:
            before = base.from_sums(sums[:, width:])
            return {name: values - before[name] for name, values in trained.from_sums(sums[:, :width]).items()}

        return Measures(np.concatenate([trained.columns, base.columns], axis=1), from_sums, {})

    def spread(self, name: str) -> Spread:
        """Over the runs."""
        return Spread.of(self.values(name))

    def values(self, name: str) -> list[float]:
        """Of each run."""
        return [measures(run["test"], run["data"]).values()[name] for run in self.runs]

    def group(self, label: str) -> Group:
        """As a comparison's group, for its pictures."""
        return Group(label, tuple(map(_as_run, self.runs)))


def read_rows(question: str) -> dict[str, Row]:
    """The rows of a question by name; seeds in order."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for path in sorted((KEPT / question).glob("*.json")):
        found[path.stem.rpartition("-")[0]].append(read_json(path))
    return {name: Row(tuple(sorted(runs, key=lambda run: run["seed"]))) for name, runs in found.items()}


def measures(test: Test, data: str) -> Measures:
    """The measures of one system's kept columns."""
    true = _truth(data)
    states, second = ([_states(letters) for letters in test[key]] for key in ("states", "second"))
    oracle = [true[number] for number in test["study"]]
    clinical = joined(
        clinical_measures(states, oracle, (READING,)), clinical_measures(second, oracle, (READING,), f"{SECOND}/")
    )
    names = {
        "macro F1": f"{READING}/all_14/macro/f1",
        "macro P": f"{READING}/all_14/macro/precision",
        "macro R": f"{READING}/all_14/macro/recall",
        "micro F1": f"{READING}/all_14/micro/f1",
        "second reader": f"{SECOND}/{READING}/all_14/macro/f1",
    }
    means = {name: test[name] for name in TERMS}
    return joined(
        renamed(clinical, names),
        _mean_f1s(clinical),
        mean_measures({**means, "words": test["words"], "repetition": test["repetition"]}),
        *(_share(kind, test[kind]) for kind in KINDS),
    )


def _mean_f1s(clinical: Measures) -> Measures:
    """The mean F1 of the findings that the base had seen, and of those that were withheld from it."""

    def from_sums(sums: Array) -> dict[str, Array]:
        found = clinical.from_sums(sums)
        return {
            kind: mean_of_defined(
                np.stack([found[f"{READING}/{one.value}/f1"] for one in OBSERVATIONS if one in of], 1)
            )
            for kind, of in (("shown", SHOWN), ("withheld", WITHHELD))
        }

    return Measures(clinical.columns, from_sums, {})


def _share(name: str, counts: Sequence[Sequence[int]]) -> Measures:
    """Of N studies' counts [right, of how many], the share that is right."""

    def from_sums(sums: Array) -> dict[str, Array]:
        return {name: ratio_of_sums(sums[:, 0], sums[:, 1])}

    return Measures(np.array(counts, dtype=np.float64), from_sums, {})


@cache
def _base(name: str) -> Measures:
    kept = read_json(KEPT / "base" / f"{name}.json")
    return measures(kept["test"], kept["data"])


@cache
def _truth(data: str) -> dict[int, LabelStates]:
    return {number: study.labels for number, study in enumerate(_source(data).studies(Split.TEST))}


@cache
def _source(data: str) -> PhantomSource:
    with initialize_config_dir(str(DOCS.parent / "conf"), version_base="1.3"):
        source: PhantomSource = build(compose("evaluate", [f"data={data}"]).data.source, "data.source")
    return source


def _states(letters: str) -> LabelStates:
    return dict(zip(OBSERVATIONS, (STATES[letter] for letter in letters), strict=True))


def _as_run(kept: Mapping[str, Any]) -> Run:
    def curves(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        steps = np.array(columns["step"], dtype=np.float64)
        values = {key: np.array(own, dtype=np.float64) for key, own in columns.items() if key != "step"}
        return {key: (steps[~np.isnan(own)], own[~np.isnan(own)]) for key, own in values.items()}

    settings = flat_settings({"seed": kept["seed"]})
    found = curves(kept["training"]) | curves(kept["validation"])
    return Run(Path("kept"), RunState.FINISHED, settings=settings, curves=found)


# ---- tables


def markdown(rows: Iterable[Sequence[str]]) -> str:
    """A table, its first row the heading."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    lines.insert(1, "|" + "---|" * (lines[0].count(" | ") + 1))
    return "\n".join(lines)


SCORES = {
    "macro P": "P",
    "macro R": "R",
    "shown": "7 shown",
    "withheld": "6 withheld",
    "second reader": "second reader",
    "rouge_l": "ROUGE-L",
}
"""Measures to their headings."""
_AGAINST = ("Δ macro F1 [95 %]", "p (studies)", "p (seeds)")


def scores_table(rows: Mapping[str, Row], titles: Mapping[str, str], baseline: str, primary: str) -> str:
    """Scores of each row and of the base, and the row's macro F1 against the baseline's.

    p of all but the primary row is by Holm's method.
    """
    kept = [name for name in titles if name in rows]
    base = BOOTSTRAP.draw(rows[baseline].measures())
    others = [name for name in kept if name != baseline]
    found = {name: BOOTSTRAP.differences(rows[name].measures(), base)["macro F1"] for name in others}
    secondary = [name for name in others if name != primary]
    adjusted = dict(zip(secondary, holm([found[name].p_value for name in secondary]), strict=True))
    table = [["row", "runs", "macro F1", *SCORES.values(), "words", "shuffled", *_AGAINST]]
    for name in kept:
        row, values = rows[name], rows[name].measures().values()
        shuffled = [run["summary"]["shuffled_images"]["macro"]["f1"] for run in row.runs]
        cells = [f"**{titles[name]}**" if name in (baseline, primary) else titles[name], str(len(row.runs))]
        cells += [tables.spread(row.spread("macro F1")), *_score_cells(values), f"{sum(shuffled) / len(shuffled):.3f}"]
        if name == baseline:
            cells += ["", "", ""]
        else:
            p = f"**{tables.p_value(found[name].p_value)}**" if name == primary else tables.p_value(adjusted[name])
            cells += [tables.difference(found[name]), p, _seeds(row, rows[baseline], "macro F1")]
        table.append(cells)
    before = rows[baseline].base().values()
    table.append(["base", "", f"{before['macro F1']:.3f}", *_score_cells(before), "", "", "", ""])
    return markdown(table)


def _score_cells(values: Mapping[str, float]) -> list[str]:
    return [*(f"{values[name]:.3f}" for name in SCORES), f"{values['words']:.1f}"]


def _seeds(row: Row, other: Row, name: str) -> str:
    """Of a paired t test over the seeds that both have."""
    if [run["seed"] for run in row.runs] != [run["seed"] for run in other.runs] or len(row.runs) < 2:
        return tables.ABSENT
    return tables.p_value(paired_t_test(row.values(name), other.values(name)).p)


CROSS_COLUMNS = (*TERMS, "macro F1", "second reader", "macro P", "macro R", "words", "repetition", "side", "severity")


def crossed(rows: Mapping[str, Row], titles: Mapping[str, tuple[str, Sequence[str]]]) -> CrossTable:
    """Trained minus base, of each row's reports on each measure."""
    found = []
    for name, (title, measured_as) in titles.items():
        if name not in rows:
            continue
        row = rows[name]
        differences = BOOTSTRAP.differences(row.measures(), row.base())
        before = row.base().values()
        seeds = {key: Spread.of([value - before[key] for value in row.values(key)]) for key in differences}
        found.append(Crossed(title, frozenset(measured_as), differences, seeds, 200, False))
    return CrossTable(tuple(found), CROSS_COLUMNS, ())


def cross_markdown(table: CrossTable, heading: str = "paid for") -> str:
    """The cross table, its columns in two halves."""
    parts = []
    for columns in (CROSS_COLUMNS[:6], CROSS_COLUMNS[6:]):
        rows = [[heading, "runs", *columns]]
        for row in table.rows:
            cells = [
                f"{'◆ ' if name in row.measured_as else ''}{tables.difference(row.differences[name])}"
                for name in columns
            ]
            rows.append([row.rewarded, str(row.seeds["facts"].n), *cells])
        parts.append(markdown(rows))
    return "\n\n".join(parts)


def drift_table(rows: Mapping[str, Row], titles: Mapping[str, str], level: float) -> str:
    """KL, length and precision where the reward first reaches a level, over the seeds that reach it."""
    found: dict[str, list[float]] = {}
    table = [["row", f"runs that reach {level}", "step", "KL (nats a token)", "tokens", "precision"]]
    table[0].append(f"Δ KL to {next(iter(titles.values()))}, p (seeds)")
    for name, title in titles.items():
        if name not in rows:
            continue
        places = [(run["training"], _first(run["training"]["reward"], level)) for run in rows[name].runs]
        reached = [(curves, place) for curves, place in places if place is not None]
        found[name] = [curves["kl"][place] for curves, place in reached]
        spreads = {
            key: Spread.of([curves[key][place] for curves, place in reached])
            for key in ("step", "kl", "completion_tokens", "reward_precision")
        }
        first = next(iter(found.values()))
        against = ""
        if len(found) > 1 and len(found[name]) == len(first) == len(places) > 1:
            test = paired_t_test(found[name], first)
            against = f"{test.difference:+.3f}, {tables.p_value(test.p)}"
        cells = [f"{spreads['step'].mean:.0f}", tables.spread(spreads["kl"])]
        cells += [f"{spreads['completion_tokens'].mean:.1f}", f"{spreads['reward_precision'].mean:.3f}"]
        table.append([title, f"{len(reached)} of {len(places)}", *cells, against])
    return markdown(table)


def _first(values: Sequence[float | None], level: float) -> int | None:
    return next((place for place, value in enumerate(values) if value is not None and value >= level), None)


STAGES = {
    "orapo": "OraPO, 240",
    "sft_then_orapo": "SFT 120, then OraPO 120",
    "sft_then_grpo": "SFT 120, then GRPO 120",
    "grpo_sft": "GRPO + SFT, 240",
    "sft": "SFT, 240",
    "grpo": "GRPO, 240",
}
REWARDS = {
    f"{objective}-{paid}": (f"{title} under {objective_title}", measured)
    for paid, title, measured in (
        ("facts", "facts", ("facts",)),
        ("attributes", "facts + attributes", ("facts", "attributes")),
        ("rouge_l", "ROUGE-L", ("rouge_l",)),
        ("accuracy", "accuracy", ("accuracy",)),
    )
    for objective, objective_title in (("grpo", "GRPO"), ("orapo", "OraPO"))
}


def stages() -> str:
    """Question 1."""
    rows = read_rows("stages")
    save_figure(
        curves_figure([rows[name].group(title) for name, title in STAGES.items() if name in rows], _none()),
        DOCS / "results_stages.png",
    )
    return scores_table(rows, STAGES, "orapo", "sft_then_orapo")


def rewards() -> str:
    """Question 3; rows paid for facts are those of question 1."""
    table = crossed(_paid(), REWARDS)
    save_figure(cross_figure(table), DOCS / "results_cross.png")
    return cross_markdown(table)


def attributes() -> str:
    """Question 4; p of all but the primary comparison, OraPO's sides, by Holm's method."""
    rows = _paid()
    pairs = [(f"{name}-attributes", f"{name}-facts") for name in ("orapo", "grpo") if f"{name}-attributes" in rows]
    found = {
        (paid, kind): BOOTSTRAP.differences(rows[paid].measures(), rows[other].measures())[kind]
        for paid, other in pairs
        for kind in KINDS
    }
    rest = [key for key in found if key != ("orapo-attributes", "side")]
    adjusted = dict(zip(rest, holm([found[key].p_value for key in rest]), strict=True))
    table = [["row", "findings rightly named", "sides right", "Δ [95 %], p", "severities right", "Δ [95 %], p"]]
    for paid, other in pairs:
        for name in (other, paid):
            values = rows[name].measures().values()
            cells = [REWARDS[name][0], f"{_rightly_named(rows[name]):.0f}"]
            for kind in KINDS:
                told = ""
                if name == paid:
                    key = (paid, kind)
                    p = tables.p_value(adjusted.get(key, found[key].p_value))
                    told = f"{tables.difference(found[key])}, {p if key in adjusted else f'**{p}**'}"
                cells += [f"{values[kind]:.3f}", told]
            table.append(cells)
    return markdown(table)


def _rightly_named(row: Row) -> float:
    """Findings with a stated side, a run."""
    return sum(stated for run in row.runs for _, stated in run["test"]["side"]) / len(row.runs)


def _paid() -> dict[str, Row]:
    facts = {f"{name}-facts": row for name, row in read_rows("stages").items() if name in ("grpo", "orapo")}
    return {**facts, **read_rows("rewards")}


RICH = {"orapo": "OraPO", "grpo_sft": "GRPO + SFT", "grpo": "GRPO", "sft": "SFT"}
SUBSETS = {
    "random_400": "400 studies, random",
    "hard_400": "400 studies, hard",
    "balanced_400": "400 studies, balanced",
    "balanced_100": "100 studies, balanced",
    "balanced_200": "200 studies, balanced",
    "orapo": "1,000 studies, balanced",
}
ALIGNMENT = {"sft": "SFT of all weights", "projector": "SFT of the projector alone"}


def rich() -> str:
    """Question 2; all rows are paid for facts."""
    rows = read_rows("rich")
    gains = crossed(rows, {name: (title, ("facts",)) for name, title in RICH.items()})
    return f"{scores_table(rows, RICH, 'orapo', 'grpo_sft')}\n\n{cross_markdown(gains, 'trained minus base')}"


WIDTHS = {"narrow": "64 (481,216)", "sighted": "128 (1,666,944)", "wide": "192 (3,557,184)"}
BUDGETS = (120, 240)


def scaling() -> str:
    """Question 6; width 128 at the larger budget is OraPO's row of question 1."""
    rows = {**read_rows("scaling"), "sighted_240": read_rows("stages")["orapo"]}
    gains = {name: BOOTSTRAP.draw(row.gain()) for name, row in rows.items()}
    found = {
        (width, steps): BOOTSTRAP.differences(gains[f"{width}_{steps}"], gains[f"narrow_{steps}"])["macro F1"]
        for steps in BUDGETS
        for width in WIDTHS
        if width != "narrow"
    }
    primary = ("wide", max(BUDGETS))
    rest = [key for key in found if key != primary]
    adjusted = dict(zip(rest, holm([found[key].p_value for key in rest]), strict=True))
    table = [["width (weights)", "steps", "runs", "base", "macro F1", "gain [95 %]", "gain, second reader [95 %]"]]
    table[0] += ["shuffled", "Δ gain to width 64 [95 %]", "p (studies)", "p (seeds)"]
    for steps in BUDGETS:
        for width, title in WIDTHS.items():
            row, key = rows[f"{width}_{steps}"], (width, steps)
            gained = BOOTSTRAP.differences(row.measures(), row.base())
            shuffled = [run["summary"]["shuffled_images"]["macro"]["f1"] for run in row.runs]
            cells = [title, str(steps), str(len(row.runs)), f"{row.base().values()['macro F1']:.3f}"]
            cells += [tables.spread(row.spread("macro F1"))]
            cells += [tables.difference(gained[name]) for name in ("macro F1", "second reader")]
            cells += [f"{sum(shuffled) / len(shuffled):.3f}"]
            if key in found:
                p = tables.p_value(adjusted.get(key, found[key].p_value))
                cells += [tables.difference(found[key]), f"**{p}**" if key == primary else p]
                cells += [tables.p_value(_test_of_gains(row, rows[f"narrow_{steps}"]))]
            else:
                cells += ["", "", ""]
            table.append(cells)
    return markdown(table)


def _test_of_gains(row: Row, other: Row) -> float:
    """The p value of a paired t test of gains in macro F1 over the seeds."""
    ours, theirs = (
        [value - one.base().values()["macro F1"] for value in one.values("macro F1")] for one in (row, other)
    )
    return paired_t_test(ours, theirs).p


def subsets() -> str:
    """Question 5; 1,000 studies are OraPO's row of question 1."""
    rows = {**read_rows("subsets"), "orapo": read_rows("stages")["orapo"]}
    chosen = [["trained on", "with a withheld finding", "without any finding"]]
    for name, title in SUBSETS.items():
        shares = [run["trained_on"] for run in rows[name].runs]
        spreads = [Spread.of([own[kind] for own in shares]) for kind in ("withheld", "none")]
        chosen.append([title, *map(tables.spread, spreads)])
    return f"{scores_table(rows, SUBSETS, 'random_400', 'hard_400')}\n\n{markdown(chosen)}"


def alignment() -> str:
    """Question 7."""
    rows = {**read_rows("alignment"), "sft": read_rows("stages")["sft"]}
    return scores_table(rows, ALIGNMENT, "sft", "projector")


def drift() -> str:
    """Question 8."""
    return drift_table(read_rows("stages"), {name: STAGES[name] for name in ("grpo", "orapo", "grpo_sft")}, 0.45)


def _none() -> Group:
    return Group("", ())


TABLES: Mapping[str, Callable[[], str]] = {
    "stages": stages,
    "rich": rich,
    "rewards": rewards,
    "attributes": attributes,
    "subsets": subsets,
    "scaling": scaling,
    "alignment": alignment,
    "drift": drift,
}


def written(page: str) -> str:
    """The page with every marked table made anew."""
    for name, make in TABLES.items():
        marked = re.compile(f"<!-- {name} -->.*?<!-- /{name} -->", re.DOTALL)
        if marked.search(page):
            table = f"<!-- {name} -->\n{make()}\n<!-- /{name} -->"
            page = marked.sub(lambda _, table=table: table, page)
    return page


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"]:
        for name in sys.argv[2:]:
            keep(Path(name))
    elif len(sys.argv) == 1:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sys.exit(__doc__)
