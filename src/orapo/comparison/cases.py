"""Test studies one by one: both reports, facts and verdicts, the 14 observations with their evidence, the scores.

The page is one HTML file, which opens without a server and without a connection. Everything on it is read again from
the reports by the offline judge and the rule labeler, so that any file of examined reports can be looked at, whoever
wrote it.
"""

import base64
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates
from orapo.comparison.compare import Comparison
from orapo.comparison.cross import BASE_REPORTS
from orapo.comparison.groups import Group
from orapo.comparison.page_template import as_data, fill, paragraph
from orapo.comparison.tables import counted
from orapo.errors import DataError
from orapo.evaluation.report_pairs import ReportPair, read_report_pairs
from orapo.labeler import Labeler, Mention
from orapo.measures.rouge import ROUGE, rouge_scores
from orapo.measures.words import normalised
from orapo.records import Fact, Judgement, RewardBreakdown
from orapo.reward.fact_score import FactScoreReward

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SYSTEMS = 4
MAX_IMAGES = 2
"""Of a study, so that 1,000 cases stay a file that opens at once."""

_THUMBNAIL_SIDE = 224
_JPEG_QUALITY = 65
_STATE_LETTERS = {
    LabelState.POSITIVE: "p",
    LabelState.NEGATIVE: "n",
    LabelState.UNCERTAIN: "u",
    LabelState.UNMENTIONED: ".",
}
_JUDGEMENT_LETTERS = {Judgement.ENTAILED: "e", Judgement.CONTRADICTED: "c", Judgement.NOT_MENTIONED: "."}

THUMBNAIL_PIXELS = _THUMBNAIL_SIDE**2

PRIVATE_SHOWN = (
    "Private: this page holds reports, images and ids of patients' studies. Keep it where the data set may be kept."
)
PRIVATE_HIDDEN = (
    "Of private studies: reports, images and ids are left out. --show-private (compare) or show_private=true "
    "(evaluate) shows them."
)
NOT_PRIVATE = "No patient stands behind these studies."

ImagesOf = Callable[[str], "Sequence[Image]"]
"""From a study's id to its images; raises DataError where they can't be opened."""


@dataclass(frozen=True)
class CaseSystem:
    """The reports of one system.

    Attributes:
        name: to be shown.
        pairs: a study each.
    """

    name: str
    pairs: Sequence[ReportPair]


@dataclass(frozen=True)
class Cases:
    """What a case page shows.

    Attributes:
        systems: 1 to ``MAX_SYSTEMS``; the cases are the studies of the first.
        is_private: whether the studies are of patients.
        shows_private: whether reports, images and ids are shown all the same; of private studies none are without.
        uncertain_is_positive: how uncertain label states count.
        images_of: None where no images are shown.
        no_images: why there are none; "" where there are some, or without a reason to give.
    """

    systems: tuple[CaseSystem, ...]
    is_private: bool
    shows_private: bool
    uncertain_is_positive: bool
    images_of: ImagesOf | None = None
    no_images: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.systems) <= MAX_SYSTEMS:
            raise DataError(f"a case page shows 1 to {MAX_SYSTEMS} systems, got {len(self.systems)}")
        if any(pair.answer is not None for system in self.systems for pair in system.pairs):
            raise DataError("a case page shows reports, and these are answers to questions; their files hold both")

    @property
    def shows_texts(self) -> bool:
        """Whether reports, images and ids are on the page."""
        return self.shows_private or not self.is_private

    def content(self) -> dict[str, Any]:
        """What the page's script reads, as plain values."""
        columns = [self._reports(system) for system in self.systems]
        return {
            "systems": [system.name for system in self.systems],
            "observations": [observation.value for observation in OBSERVATIONS],
            "uncertainIsPositive": self.uncertain_is_positive,
            "showsTexts": self.shows_texts,
            "cases": [
                self._case(place, pair, [column.get(pair.study_id) for column in columns])
                for place, pair in enumerate(self.systems[0].pairs, start=1)
            ],
        }

    def _case(self, place: int, pair: ReportPair, reports: list[dict[str, Any] | None]) -> dict[str, Any]:
        case = {"id": f"case {place}", "truth": _letters(pair.oracle_states), "reports": reports}
        if not self.shows_texts:
            return case
        told = {"oracle": pair.oracle_report, "mentions": _mentions(pair.oracle_report)}
        return case | told | {"id": pair.study_id} | self._images(pair.study_id)

    def _images(self, study_id: str) -> dict[str, Any]:
        """Thumbnails of a study; why there are none where its images can't be opened: the page has all the rest."""
        try:
            images = () if self.images_of is None else self.images_of(study_id)
        except DataError as error:
            return {"noImages": str(error)}
        return {"images": [thumbnail(image) for image in images[:MAX_IMAGES]], "numImages": len(images)}

    def _reports(self, system: CaseSystem) -> dict[str, dict[str, Any]]:
        """For each study, what the page shows of one system's report."""
        texts = [pair.generated_report for pair in system.pairs]
        truths = [pair.oracle_states for pair in system.pairs]
        judged = FactScoreReward(uncertain_is_positive=self.uncertain_is_positive).score(texts, truths)
        written = [normalised(text).split() for text in texts]
        wanted = [normalised(pair.oracle_report).split() for pair in system.pairs]
        overlaps = [row[ROUGE.index("rouge_l")] for row in rouge_scores(written, wanted)]
        return {
            pair.study_id: self._report(pair, breakdown, overlap)
            for pair, breakdown, overlap in zip(system.pairs, judged, overlaps, strict=True)
        }

    def _report(self, pair: ReportPair, breakdown: RewardBreakdown, rouge_l: float) -> dict[str, Any]:
        scores = {"reward": breakdown.total, "precision": breakdown.precision, "recall": breakdown.recall}
        if normalised(pair.oracle_report):
            scores["ROUGE-L"] = rouge_l
        # The reward of facts is the first of these already.
        others = {name: value for name, value in pair.scores.items() if name != "reward_facts"}
        scores |= {name.removeprefix("reward_").replace("_", " "): value for name, value in others.items()}
        report = {
            "states": _letters(pair.generated_states),
            "verdicts": "".join(_JUDGEMENT_LETTERS[verdict.judgement] for verdict in breakdown.verdicts),
            "numRefused": len(breakdown.rejected),
            "isEmpty": not pair.generated_report.strip(),
            "scores": {name: round(value, 4) for name, value in scores.items()},
        }
        if self.shows_texts:
            report |= {
                "text": pair.generated_report,
                "facts": [_fact(fact, breakdown) for fact in breakdown.facts],
                "refused": list(_refused(pair.generated_report, breakdown)),
                "mentions": _mentions(pair.generated_report),
            }
        return report


def case_page(cases: Cases) -> str:
    content = cases.content()
    names = " and ".join(content["systems"][:2])
    title = f"{counted(len(content['cases']), 'case')}: {names}"
    notices = [PRIVATE_HIDDEN if not cases.shows_texts else PRIVATE_SHOWN if cases.is_private else NOT_PRIVATE]
    notices += [f"No images: {cases.no_images}."] if cases.no_images else []
    notice = "".join(paragraph(told, "warn" if cases.is_private else "note") for told in notices)
    return fill("case_page.html", title=title, notice=notice, data=as_data(content))


def thumbnail(image: "Image") -> str:
    small = image.convert("L")
    small.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_JPEG_QUALITY)
    return base64.b64encode(file.getvalue()).decode()


def _letters(states: LabelStates) -> str:
    return "".join(_STATE_LETTERS[states[observation]] for observation in OBSERVATIONS)


def _fact(fact: Fact, breakdown: RewardBreakdown) -> list[Any]:
    """Place of a fact, and the verdicts that rest on it: index of the observation and letter of the judgement."""
    verdicts = [
        [place, _JUDGEMENT_LETTERS[verdict.judgement]]
        for place, verdict in enumerate(breakdown.verdicts)
        if fact in verdict.supporting_facts
    ]
    return [fact.start, fact.end, verdicts]


def _refused(report: str, breakdown: RewardBreakdown) -> Iterator[list[Any]]:
    """Start, end and reason of each refused statement; -1 for both places where it isn't found."""
    taken = [(fact.start, fact.end) for fact in breakdown.facts]
    for statement, reason in breakdown.rejected.items():
        found = re.finditer(r"\s+".join(map(re.escape, statement.split())), report)
        free = (one.span() for one in found if not any(one.start() < end and start < one.end() for start, end in taken))
        start, end = next(free, (-1, -1))
        taken.append((start, end))
        yield [start, end, reason]


def _mentions(report: str) -> list[list[Any]]:
    """[observation, state, place, attributes] of each mention."""
    return [
        [OBSERVATIONS.index(one.observation), _STATE_LETTERS[one.state], one.start, one.end, _stated(one)]
        for one in _labeler().mentions(report)
    ]


@lru_cache(maxsize=1)
def _labeler() -> Labeler:
    return Labeler()


def _stated(mention: Mention) -> str:
    """As in "likely, left, base, mild, 12 mm, unchanged"; the state says what is certain or denied."""
    values = [value for value in mention.attributes if value is not None]
    words = [f"{value:g} mm" if isinstance(value, int | float) else str(value) for value in values]
    return ", ".join(word for word in words if word not in ("certain", "denied"))


def shown_groups(comparison: Comparison) -> tuple[Group, ...]:
    """The baseline and the first other groups that are finished, at most ``MAX_SYSTEMS``.

    Raises:
        DataError: none is finished.
    """
    finished = [group for group in comparison.groups if group.finished]
    if not finished:
        raise DataError("--cases needs a finished run or an evaluation")
    return tuple(sorted(finished, key=lambda group: group is not comparison.baseline)[:MAX_SYSTEMS])


def case_systems(groups: Sequence[Group]) -> tuple[CaseSystem, ...]:
    """Each group by its first finished run; beside a run alone, its base policy.

    Raises:
        DataError: a file of reports can't be read.
    """
    runs = [group.finished[0] for group in groups]
    systems = [
        CaseSystem(
            group.label if len(group.runs) == 1 else f"{group.label}, {run.folder.name}", read_report_pairs(run.reports)
        )
        for group, run in zip(groups, runs, strict=True)
    ]
    base = runs[0].folder / BASE_REPORTS
    if len(systems) == 1 and base.is_file():
        systems.append(CaseSystem("before training", read_report_pairs(base)))
    return tuple(systems)
