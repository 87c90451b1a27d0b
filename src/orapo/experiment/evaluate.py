"""One evaluation, step by step: read the studies, write reports, score them beside the controls, write down."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orapo.data.evaluation_studies import EvaluationStudies
from orapo.data.shuffled import derangement
from orapo.data.source import MarkedSource
from orapo.empty_reports import says_nothing
from orapo.evaluation.clinical_measures import READINGS
from orapo.evaluation.evaluation_table import EvaluationTables, tables_text
from orapo.evaluation.exports import RADEVAL_FILE, write_radeval
from orapo.evaluation.mark_measures import mark_measures
from orapo.evaluation.report_pairs import ReportLabeler, ReportPair, pair_reports, write_report_pairs
from orapo.evaluation.resampling import Bootstrap, Measures, joined
from orapo.evaluation.system_measures import SystemScores, observation_counts, system_measures
from orapo.experiment.evaluate_config import Evaluation
from orapo.experiment.evaluated_systems import open_other, open_system
from orapo.experiment.evaluation_controls import (
    TITLES,
    TrainingStudies,
    always_positive,
    common_report,
    label_frequencies,
)
from orapo.experiment.evaluation_files import FILES, FORMAT, write_evaluation
from orapo.experiment.quiet import quiet_libraries
from orapo.experiment.results import PACKAGES, git_commit
from orapo.experiment.targets import build, plain
from orapo.experiment.written_reports import NotComputed, System, Written
from orapo.training.metrics import Stopwatch

log = logging.getLogger(__name__)


def evaluate(evaluation: Evaluation, folder: Path) -> dict[str, Any]:
    """Evaluates as the config says; ``folder`` is made once everything is scored.

    Returns:
        The content of evaluation.json.

    Raises:
        OrapoError: whatever the user can mend.
    """
    quiet_libraries()
    config = evaluation.config
    bootstrap = evaluation.bootstrap
    labeler: ReportLabeler = build(config.labeler, "labeler")
    watch = Stopwatch()
    with watch.phase("data"):
        source = build(config.data.source, "data.source")
        studies = EvaluationStudies.read(source, evaluation.data.max_test_studies)
        training = TrainingStudies.read(evaluation, studies)
    print(f"{len(studies.studies)} test studies of {source.name}, {len(studies.left_out)} left out")
    _warn_of_shared_patients(training, studies)
    with watch.phase("model"):
        other = None if config.against is None else open_other(str(config.against), evaluation)
        system = open_system(evaluation)
    work = _Work(evaluation, studies, labeler, bootstrap)
    with watch.phase("reports"):
        own, pairs = work.measured(system, None)
        scores = {"system": work.scored(evaluation.name, own, pairs, system)}
        scores["shuffled_images"] = work.shuffled(system)
    with watch.phase("controls"):
        scores["always_positive"] = always_positive(studies.studies, bootstrap)
        scores["label_frequencies"] = label_frequencies(training, studies.studies, config.seed, bootstrap)
        scores["most_common_report"] = common_report(training, studies.studies, labeler, bootstrap)
    against = None
    if other is not None:
        with watch.phase("against"):
            second, second_pairs = work.measured(other, None)
            scores["against"] = work.scored(f"against: {config.against}", second, second_pairs, other)
            against = {"system": other.described, "differences": bootstrap.differences(own, second)}
    tables = _tables(evaluation, scores, against, studies, bootstrap)
    content = {
        "format": FORMAT,
        "name": evaluation.name,
        "system": system.described,
        "data": _described_data(studies, training),
        "scores": {key: row.to_dict() for key, row in scores.items()},
        "against": None if against is None else _plain_differences(against),
        "bootstrap": asdict(bootstrap),
        "seed": config.seed,
        "seconds": {phase: round(seconds, 3) for phase, seconds in watch.seconds.items()},
        "settings": plain(config),
        "packages": {name: version(name) for name in (*PACKAGES, "torchmetrics")},
        "git_commit": git_commit(),
    }
    folder.mkdir(parents=True)
    write_evaluation(content, tables, folder)
    write_report_pairs(folder / "reports.jsonl", pairs)
    files = dict(FILES)
    if config.export == "radeval":
        count = write_radeval(folder / RADEVAL_FILE, pairs)
        files[RADEVAL_FILE] = f"{count} pairs of reports for RadEval"
    print(tables_text(tables, everything=False))
    print(f"Everything lies in {folder}")
    for name, meaning in files.items():
        print(f"  {name:<16} {meaning}")
    return content


class _Work:
    """What scoring a system needs."""

    def __init__(
        self, evaluation: Evaluation, studies: EvaluationStudies, labeler: ReportLabeler, bootstrap: Bootstrap
    ) -> None:
        self._evaluation = evaluation
        self._studies = studies
        self._labeler = labeler
        self._bootstrap = bootstrap
        self._counts: dict[int, dict[str, float]] = {}

    def measured(self, system: System, images_of: Sequence[int] | None) -> tuple[Measures, tuple[ReportPair, ...]]:
        """Has the reports written, and measures them."""
        written: Written = system.write(self._studies, images_of)
        studies = self._studies.studies
        pairs = pair_reports(studies, written.reports, self._labeler)
        shown = studies if images_of is None else [studies[place] for place in images_of]
        measures = system_measures(pairs, [len(s.image_paths) for s in shown], written.seconds, written.cost_usd)
        source = self._studies.source
        if isinstance(source, MarkedSource) and (observation := source.mark_goes_with) is not None:
            marks = [source.has_mark(study.study_id) for study in shown]
            measures = joined(measures, mark_measures(pairs, marks, observation))
        self._counts[id(measures)] = dict(written.counts)
        return measures, pairs

    def scored(self, title: str, measures: Measures, pairs: Sequence[ReportPair], system: System) -> SystemScores:
        """The system's row of the table."""
        own = self._counts[id(measures)]
        note = ", ".join(f"{name.replace('_', ' ')} {count:g}" for name, count in own.items() if count)
        return SystemScores(title, self._bootstrap.estimates(measures), observation_counts(pairs) | own, note=note)

    def shuffled(self, system: System) -> SystemScores:
        """The same system, each study shown another one's images."""
        title, config = TITLES["shuffled_images"], self._evaluation.config
        if not config.shuffled_images:
            return SystemScores(title, {}, {}, not_computed="shuffled_images=false")
        if len(self._studies.studies) < 2:
            return SystemScores(title, {}, {}, not_computed="there is only one study")
        try:
            measures, pairs = self.measured(system, derangement(len(self._studies.studies), config.seed))
        except NotComputed as reason:
            return SystemScores(title, {}, {}, not_computed=str(reason))
        return self.scored(title, measures, pairs, system)


def _warn_of_shared_patients(training: TrainingStudies, studies: EvaluationStudies) -> None:
    if shared := training.shared_patients(studies.studies):
        log.warning(
            "%d patient ids of the test studies stand in the training subset too: if it is the same data set, these "
            "scores are not of held-out patients",
            shared,
        )


def _described_data(studies: EvaluationStudies, training: TrainingStudies) -> dict[str, Any]:
    return {
        "source": studies.source.name,
        "digest": studies.source.digest(),
        "num_studies": len(studies.studies),
        "num_with_report": _num_with_report(studies),
        "num_left_out": len(studies.left_out),
        "num_training_studies": len(training.studies),
        "training_studies_not_read": training.reason or None,
        "num_patients_shared_with_training": training.shared_patients(studies.studies),
    }


def _num_with_report(studies: EvaluationStudies) -> int:
    return sum(not says_nothing(study.oracle_report) for study in studies.studies)


def _tables(
    evaluation: Evaluation,
    scores: dict[str, SystemScores],
    against: dict[str, Any] | None,
    studies: EvaluationStudies,
    bootstrap: Bootstrap,
) -> EvaluationTables:
    count = len(studies.studies)
    return EvaluationTables(
        headline=f"{evaluation.name}: {count} test studies of {studies.source.name}",
        systems=scores,
        against_title="" if against is None else str(evaluation.config.against),
        differences={} if against is None else against["differences"],
        reading=next(name for name, positive in READINGS.items() if positive == evaluation.data.uncertain_is_positive),
        num_with_report=_num_with_report(studies),
        num_studies=count,
        confidence=bootstrap.confidence,
    )


def _plain_differences(against: dict[str, Any]) -> dict[str, Any]:
    differences = {name: asdict(found) for name, found in against["differences"].items()}
    assert all(math.isfinite(found["value"]) for found in differences.values())
    return {"system": against["system"], "differences": differences}
