"""One evaluation, step by step: read the studies, write reports, score them beside the controls, write the files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orapo.comparison.cases import CaseSystem
from orapo.data.evaluation_studies import EvaluationStudies
from orapo.data.shuffled import derangement, with_other_priors
from orapo.data.source import StudySource
from orapo.empty_reports import says_nothing
from orapo.errors import SettingError
from orapo.evaluation.clinical import reading_of
from orapo.evaluation.evaluation_table import EvaluationTables, tables_text
from orapo.evaluation.examiner import Examiner, SystemScores
from orapo.evaluation.exports import export_reports
from orapo.evaluation.report_pairs import write_report_pairs
from orapo.evaluation.resampling import Difference
from orapo.experiment.case_images import page_with_images
from orapo.experiment.evaluate_config import Evaluation
from orapo.experiment.evaluated_systems import System, open_other, open_system
from orapo.experiment.evaluation_controls import (
    TITLES,
    TrainingStudies,
    controls,
    make_examiner,
    why_not_shuffled,
)
from orapo.experiment.evaluation_files import FILES, FORMAT, reports_name, tested, write_evaluation
from orapo.experiment.quiet import quiet_libraries
from orapo.experiment.results import PACKAGES, git_commit
from orapo.experiment.targets import build, plain
from orapo.experiment.written_reports import NotComputed, ScoreFile
from orapo.training.metrics import Stopwatch

log = logging.getLogger(__name__)

CASE_PAGE = "cases.html"


def evaluate(evaluation: Evaluation, folder: Path) -> dict[str, Any]:
    """Evaluates as the config says; ``folder`` is made once everything is scored.

    Returns:
        The content of evaluation.json.

    Raises:
        OrapoError: whatever the user can mend.
    """
    quiet_libraries()
    watch = Stopwatch()
    with watch.phase("data"):
        studies = _test_studies(evaluation)
        training = TrainingStudies.read(evaluation, studies)
    print(f"{len(studies.studies)} test studies of {studies.source.name}, {len(studies.left_out)} left out")
    if evaluation.settings.page and studies.studies[0].question is not None:
        raise SettingError("page=true shows reports, and these studies are questions; leave it out")
    _warn_of_shared_patients(training, studies)
    if evaluation.kind != "reports" and (unfilled := evaluation.model.prompt.unfilled(studies.studies)):
        log.warning("prompt.context asks for %s, which no test study has", ", ".join(unfilled))
    work = _Work.of(evaluation, studies)
    with watch.phase("model"):
        against = evaluation.settings.against
        other = None if against is None else open_other(against, evaluation)
        system = open_system(evaluation)
    scores, differences = work.all_scores(system, other, training, watch)
    content = {
        "format": FORMAT,
        "name": evaluation.name,
        "system": system.described,
        "data": _described_data(studies, training),
        "scores": {key: row.to_dict() for key, row in scores.items()},
        "against": None
        if other is None
        else {"system": other.described, "differences": {name: asdict(found) for name, found in differences.items()}},
        "bootstrap": asdict(evaluation.settings.bootstrap),
        "seed": evaluation.settings.seed,
        "seconds": {phase: round(seconds, 3) for phase, seconds in watch.seconds.items()},
        "settings": plain(evaluation.config),
        "packages": {name: version(name) for name in (*PACKAGES, "torchmetrics")},
        "git_commit": git_commit(),
    }
    tables = _tables(evaluation, studies, scores, differences)
    files = _write(content, tables, evaluation.settings.export, folder)
    if evaluation.settings.page:
        (folder / CASE_PAGE).write_text(_case_page(evaluation, studies.source, scores), encoding="utf-8")
        files[CASE_PAGE] = "every study to look at, in a browser"
    print(tables_text(tables, everything=False))
    print(f"Everything lies in {folder}")
    width = max(map(len, files))
    for name, meaning in files.items():
        print(f"  {name:<{width}}  {meaning}")
    return content


def _case_page(evaluation: Evaluation, source: StudySource, scores: Mapping[str, SystemScores]) -> str:
    shown = [scores[key] for key in ("system", "against") if key in scores]
    data = evaluation.settings.data
    return page_with_images(
        tuple(CaseSystem(system.title, system.pairs) for system in shown),
        lambda: source,
        is_private=data.is_private,
        shows_private=evaluation.settings.show_private,
        uncertain_is_positive=data.uncertain_is_positive,
    )


def _test_studies(evaluation: Evaluation) -> EvaluationStudies:
    data = evaluation.settings.data
    # A file of reports is scored without the images, unless those decide which studies there are.
    opens_images = data.on_bad_image == "drop" or evaluation.kind != "reports"
    source = build(evaluation.config.data.source, "data.source")
    return EvaluationStudies.read(source, data.max_test_studies, data.on_bad_image if opens_images else None)


def _tables(
    evaluation: Evaluation,
    studies: EvaluationStudies,
    scores: Mapping[str, SystemScores],
    differences: Mapping[str, Difference],
) -> EvaluationTables:
    count = tested(len(studies.studies), evaluation.settings.data.max_test_studies)
    return EvaluationTables(
        headline=f"{evaluation.name}: {count} of {studies.source.name}",
        systems=scores,
        against_title=evaluation.settings.against or "",
        differences=differences,
        reading=reading_of(evaluation.settings.data.uncertain_is_positive),
        confidence=evaluation.settings.bootstrap.confidence,
    )


def _write(content: dict[str, Any], tables: EvaluationTables, export: str | None, folder: Path) -> dict[str, str]:
    """Makes the folder and writes its files; returns what each file holds."""
    folder.mkdir(parents=True)
    files = dict(FILES)
    for key, row in tables.systems.items():
        if row.pairs:
            name = reports_name(key)
            write_report_pairs(folder / name, row.pairs)
            files.setdefault(name, f"the same of {row.title}")
    write_evaluation(content, tables, folder)
    return files if export is None else files | export_reports(export, folder, tables.systems["system"].pairs)


@dataclass(frozen=True)
class _Work:
    """What scoring a system needs."""

    evaluation: Evaluation
    examiner: Examiner
    scores: ScoreFile
    studies: EvaluationStudies

    @classmethod
    def of(cls, evaluation: Evaluation, studies: EvaluationStudies) -> "_Work":
        settings = evaluation.settings
        examiner = make_examiner(
            studies.source,
            build(evaluation.config.labeler, "labeler"),
            settings.bootstrap,
            settings.examiner.served,
            uncertain_is_positive=settings.data.uncertain_is_positive,
        )
        return cls(evaluation, examiner, ScoreFile(None if settings.scores is None else Path(settings.scores)), studies)

    def all_scores(
        self, system: System, other: System | None, training: TrainingStudies, watch: Stopwatch
    ) -> tuple[dict[str, SystemScores], dict[str, Difference]]:
        """The rows of the table by key, and the first system's differences from the other one."""
        evaluation, studies = self.evaluation, self.studies.studies
        with watch.phase("reports"):
            own = self.examined("system", evaluation.name, system)
            scores = {"system": own, "shuffled_images": self.shuffled(system)}
            if evaluation.kind != "reports" and evaluation.model.prompt.tells_prior:
                scores["shuffled_priors"] = self.shuffled_priors(system)
        with watch.phase("controls"):
            scores |= controls(self.examiner, training, studies, evaluation.settings.seed, self.scores)
        if other is None:
            return scores, {}
        with watch.phase("against"):
            scores["against"] = self.examined("against", f"against: {evaluation.settings.against}", other)
            return scores, self.examiner.differences(own, scores["against"])

    def examined(
        self,
        key: str,
        title: str,
        system: System,
        images_of: Sequence[int] | None = None,
        told: EvaluationStudies | None = None,
    ) -> SystemScores:
        """Has the reports written, reads and measures them; ``told`` are the studies as the system gets them."""
        written = system.write(told or self.studies, images_of)
        pairs = self.scores.added(key, self.examiner.read(self.studies.studies, written, images_of))
        return self.examiner.scored(title, pairs, written.counts)

    def shuffled(self, system: System) -> SystemScores:
        """The same system, each study shown another one's images."""
        title, count = TITLES["shuffled_images"], len(self.studies.studies)
        if not self.evaluation.settings.shuffled_images:
            return SystemScores(title, not_computed="shuffled_images=false")
        if reason := why_not_shuffled(self.studies.studies):
            return SystemScores(title, not_computed=reason)
        try:
            return self.examined("shuffled_images", title, system, derangement(count, self.evaluation.settings.seed))
        except NotComputed as reason:
            return SystemScores(title, not_computed=str(reason))

    def shuffled_priors(self, system: System) -> SystemScores:
        """The same system, each study shown its own images and given another one's prior study."""
        title, studies = TITLES["shuffled_priors"], self.studies.studies
        if not self.evaluation.settings.shuffled_priors:
            return SystemScores(title, not_computed="shuffled_priors=false")
        if sum(study.context.prior is not None for study in studies) < 2:
            return SystemScores(title, not_computed="fewer than two studies have a prior study")
        told = replace(self.studies, studies=with_other_priors(studies, self.evaluation.settings.seed))
        return self.examined("shuffled_priors", title, system, told=told)


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
        "num_with_report": sum(not says_nothing(study.oracle_report) for study in studies.studies),
        "num_left_out": len(studies.left_out),
        "num_training_studies": len(training.studies),
        "training_studies_not_read": training.reason or None,
        "num_patients_shared_with_training": training.shared_patients(studies.studies),
    }
