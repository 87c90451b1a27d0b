"""Weighted yes-or-no criteria, answered by a language model about one report: a rubric, its prompt and its score.

Scored as HealthBench scores (Arora et al. 2025), with criteria that hold for every study.
"""

import math
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated

from pydantic import AfterValidator, Strict, create_model

from orapo.errors import DataError, SettingError
from orapo.foreign import parse_yaml, read_yaml
from orapo.remote.call_errors import InvalidAnswer
from orapo.reward.llm.answers import StrictAnswer, check_sentence, parse
from orapo.reward.llm.grounding import sentences_of
from orapo.reward.llm.prompts import Request, numbered, quoted, stage_prompt
from orapo.settings import Text, read, settings

STAGE = "rubric"
_REFERENCE_RULE = (
    "\n- The reference is the radiologist's report on the same film. Take what it says for true. It is not graded."
)


def _name(value: str) -> str:
    if not value.isidentifier():
        raise ValueError(f"is {value!r}; it must be a word of letters, digits and _")
    return value


def _nonzero(value: float) -> float:
    if not value:
        raise ValueError(f"is {value!r}; it must be above or below 0")
    return value


@settings
class Criterion:
    """One question about a report.

    Attributes:
        name: a word, unique in its rubric.
        asks: with yes or no for an answer; never a patient's text.
        weight: above 0 is earned by a report that meets it, below 0 is lost; never 0.
        cites: whether it is met only if the judge names the report's sentences that show it.
    """

    name: Annotated[str, AfterValidator(_name)]
    asks: Text
    weight: Annotated[float, AfterValidator(_nonzero)]
    cites: bool = True


@settings
class Rubric:
    """What reports are graded by.

    Attributes:
        criteria: at least one; at least one has a weight above 0.
        sees_reference: whether the judge is shown the radiologist's report too.
    """

    criteria: Annotated[tuple[Criterion, ...], Strict(False)]
    sees_reference: bool = True

    def __post_init__(self) -> None:
        names = [criterion.name for criterion in self.criteria]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SettingError(f"criteria names {twice[0]} twice; each name stands for one criterion")
        if not any(criterion.weight > 0 for criterion in self.criteria):
            raise SettingError("criteria has no weight above 0; nothing could be earned")

    def score(self, met: Mapping[str, bool]) -> float:
        """Weights of the criteria met over all weights above 0, in [0, 1]; what negative weights take below 0 is 0."""
        earned = math.fsum(criterion.weight for criterion in self.criteria if met[criterion.name])
        return min(1.0, max(0.0, earned / math.fsum(each.weight for each in self.criteria if each.weight > 0)))


def load_rubric(path: str | None) -> Rubric:
    """Reads a rubric; None is the packaged one for chest films.

    Raises:
        SettingError: no such file, no YAML, or not a rubric; names the file and the criterion.
    """
    packaged = files("orapo.reward.llm").joinpath("rubrics", "chest_film.yaml")
    try:
        content = parse_yaml(packaged.read_text("utf-8"), "") if path is None else read_yaml(path)
    except DataError as error:
        raise SettingError(f"file is {path!r}, which can't be used: {error}") from None
    if not isinstance(content, dict):
        raise SettingError(f"file is {path!r}, which holds no rubric; it must have criteria")
    try:
        return read(Rubric, content)
    except SettingError as error:
        raise SettingError(f"file is {path!r}, whose {error}") from None


class _Met(StrictAnswer):
    met: bool
    sentences: list[int]


class Grader:
    """Asks a rubric's questions about reports and reads the answers.

    The judge isn't told the weights, so that answers stay valid where these change.

    Args:
        rubric: the questions.
        version: of the packaged prompts.
    """

    def __init__(self, rubric: Rubric, version: str) -> None:
        self._rubric = rubric
        fields: dict[str, tuple[type[_Met], object]] = {each.name: (_Met, ...) for each in rubric.criteria}
        table = create_model("Criteria", __base__=StrictAnswer, **fields)  # type: ignore[call-overload]
        self._schema: type[StrictAnswer] = create_model("RubricAnswer", __base__=StrictAnswer, criteria=(table, ...))
        lines = [f"- {each.name}: {each.asks}{' (cite)' if each.cites else ''}" for each in rubric.criteria]
        reference_rule = _REFERENCE_RULE if rubric.sees_reference else ""
        parts = {"criteria": "\n".join(lines), "reference_rule": reference_rule}
        self._prompt = stage_prompt(version, STAGE, self._schema, parts)

    def request(self, report: str, reference: str) -> Request:
        """The question on one report; ``read`` reads the answer."""
        subject = f"<report>\n{numbered(sentences_of(report))}\n</report>"
        if self._rubric.sees_reference:
            lines = "\n".join(f"- {line}" for line in quoted(sentences_of(reference)))
            subject = f"<reference>\n{lines}\n</reference>\n\n{subject}"
        return self._prompt.request(subject)

    def read(self, answer: str | None, report: str) -> dict[str, bool]:
        """Whether each criterion is met, by name.

        Raises:
            InvalidAnswer: not such an object, a criterion missing or unknown, a sentence that the report doesn't have,
                or none where the criterion asks for one.
        """
        table: StrictAnswer = getattr(parse(self._schema, answer), "criteria")  # noqa: B009  a made-up class
        num_sentences, met = len(sentences_of(report)), {}
        for criterion in self._rubric.criteria:
            given: _Met = getattr(table, criterion.name)
            for number in given.sentences:
                check_sentence(f"criteria.{criterion.name}.sentences", number, num_sentences)
            if given.met and criterion.cites and not given.sentences:
                raise InvalidAnswer(
                    f"criteria.{criterion.name} is met but names no sentence; name those that show it, or: not met"
                )
            met[criterion.name] = given.met
        return met
