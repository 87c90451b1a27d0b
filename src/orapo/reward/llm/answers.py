"""What a language model may answer, and how it's read: anything else is an ``InvalidAnswer`` with its reason.

The schemas are sent to providers and read back here. No ranges or lengths stand in them: strict structured output
refuses these with some providers, so that they are checked beside. Providers return malformed JSON, cut-off text and
refusals as success: nothing in an answer is taken on trust.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.labeler.sentences import split_sentences
from orapo.records import Fact, Judgement, LabelVerdict
from orapo.remote.call_errors import InvalidAnswer
from orapo.reward.llm.grounding import first_foreign_word, sentences_of
from orapo.reward.llm.json_text import read_object

_MOST_REASONS = 3


def key_of(observation: Observation) -> str:
    """The name of an observation in prompts and answers: "pleural_effusion"."""
    return observation.value.lower().replace(" ", "_")


def _without_docs(schema: dict[str, Any]) -> None:
    schema.pop("description", None)  # the docstring is for readers of the code, the prompt says it all to the model


class StrictAnswer(BaseModel):
    """No unknown keys and no conversions: "1" isn't a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, json_schema_extra=_without_docs)


class ExtractedFact(StrictAnswer):
    """A fact and the number of the sentence that states it."""

    sentence: int
    text: str


class Verdict(StrictAnswer):
    """The judgement of one observation and the numbers of the facts that it rests on."""

    verdict: Literal["entailed", "contradicted", "not mentioned"]
    supported_by: list[int]


class NoFindingVerdict(StrictAnswer):
    """As ``Verdict``; No Finding is never contradicted: what speaks against it counts by itself."""

    verdict: Literal["entailed", "not mentioned"]
    supported_by: list[int]


class VerdictTable(StrictAnswer):
    """A verdict for each of the 14 observations, by ``key_of``."""

    no_finding: NoFindingVerdict
    enlarged_cardiomediastinum: Verdict
    cardiomegaly: Verdict
    lung_lesion: Verdict
    lung_opacity: Verdict
    edema: Verdict
    consolidation: Verdict
    pneumonia: Verdict
    atelectasis: Verdict
    pneumothorax: Verdict
    pleural_effusion: Verdict
    pleural_other: Verdict
    fracture: Verdict
    support_devices: Verdict


class ExtractedFacts(StrictAnswer):
    """The answer to ``Prompts.extract``."""

    facts: list[ExtractedFact]


class ObservationVerdicts(StrictAnswer):
    """The answer to ``Prompts.entail``."""

    verdicts: VerdictTable


class CombinedAnswer(StrictAnswer):
    """The answer to ``Prompts.combined``."""

    facts: list[ExtractedFact]
    verdicts: VerdictTable


_Answer = TypeVar("_Answer", bound=StrictAnswer)


def nothing_mentioned() -> tuple[LabelVerdict, ...]:
    """The verdicts on a report without facts, for which a model needn't be asked."""
    return tuple(LabelVerdict(observation, Judgement.NOT_MENTIONED) for observation in OBSERVATIONS)


def read_facts(answer: str | None, report: str) -> tuple[Fact, ...]:
    """The facts of an answer to ``Prompts.extract(report)``, in its order; none is a valid answer.

    Raises:
        InvalidAnswer: not such an object, a sentence that the report doesn't have, or a fact with other words than the
            report's (see ``grounding.first_foreign_word``).
    """
    return _facts(parse(ExtractedFacts, answer).facts, report)


def read_verdicts(answer: str | None, facts: Sequence[Fact]) -> tuple[LabelVerdict, ...]:
    """The verdicts of an answer to ``Prompts.entail(facts)``, in the order of ``OBSERVATIONS``.

    A fact named twice in one ``supported_by`` counts once.

    Raises:
        InvalidAnswer: not such an object, an observation missing, unknown or given twice, a fact that isn't there, a
            verdict without facts or "not mentioned" with some, No Finding contradicted or beside a finding.
    """
    return _verdicts(parse(ObservationVerdicts, answer).verdicts, facts)


def read_combined(answer: str | None, report: str) -> tuple[tuple[Fact, ...], tuple[LabelVerdict, ...]]:
    """Facts and verdicts of an answer to ``Prompts.combined(report)``.

    Raises:
        InvalidAnswer: as from ``read_facts`` and ``read_verdicts``.
    """
    combined = parse(CombinedAnswer, answer)
    facts = _facts(combined.facts, report)
    return facts, _verdicts(combined.verdicts, facts)


def parse(schema: type[_Answer], answer: str | None) -> _Answer:
    """The one object of this schema in an answer.

    Raises:
        InvalidAnswer: there is none, or something else is in it; says where, by the schema's own keys alone.
    """
    value = read_object(answer, tuple(schema.model_fields))
    if isinstance(value.get("verdicts"), dict):
        value["verdicts"] = _by_key(value["verdicts"])
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        reasons = [_reason(detail["loc"], detail["type"], detail["msg"]) for detail in details[:_MOST_REASONS]]
        more = f"; and {len(details) - _MOST_REASONS} more" if len(details) > _MOST_REASONS else ""
        raise InvalidAnswer("; ".join(reasons) + more) from None


def _by_key(verdicts: Any) -> dict[str, object]:
    """Observations by their key, also where the answer spells them like their column ("Pleural Effusion")."""
    table = {str(name).strip().lower().replace(" ", "_"): verdict for name, verdict in verdicts.items()}
    if len(table) < len(verdicts):
        raise InvalidAnswer("verdicts gives an observation twice; give each once")
    return table


def _reason(location: Sequence[str | int], kind: str, message: str) -> str:
    """One mistake in our words; a key that the model made up isn't repeated."""
    if kind == "extra_forbidden":
        return f"{_place(location[:-1])} has a key that isn't asked for"
    if kind == "missing":
        return f"{_place(location)} is missing"
    return f"{_place(location)}: {message[:1].lower()}{message[1:]}"


def _place(location: Sequence[str | int]) -> str:
    """Where in the answer; made of the schema's keys alone, as every schema is closed."""
    place = ""
    for part in location:
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    return place.lstrip(".") or "the object"


def _facts(extracted: Sequence[ExtractedFact], report: str) -> tuple[Fact, ...]:
    sentences = sentences_of(report)
    spans = [sentence.span() for sentence in split_sentences(report)]
    facts = []
    for number, fact in enumerate(extracted):
        text = " ".join(fact.text.split())
        if not text.isprintable() or not any(map(str.isalpha, text)):
            raise InvalidAnswer(f"facts[{number}].text holds no statement; write words")
        check_sentence(f"facts[{number}].sentence", fact.sentence, len(sentences))
        foreign = first_foreign_word(text, sentences, fact.sentence)
        if foreign is not None:
            raise InvalidAnswer(
                f"facts[{number}].text: its word {foreign} isn't stated in sentence {fact.sentence} or before it; "
                "use the words of the report and name the sentence that states the fact"
            )
        facts.append(Fact(text, fact.sentence, *spans[fact.sentence]))
    return tuple(facts)


def _verdicts(table: VerdictTable, facts: Sequence[Fact]) -> tuple[LabelVerdict, ...]:
    verdicts = tuple(_verdict(observation, getattr(table, key_of(observation)), facts) for observation in OBSERVATIONS)
    entailed = {verdict.observation for verdict in verdicts if verdict.judgement is Judgement.ENTAILED}
    beside = sorted(
        key_of(observation) for observation in entailed - {Observation.NO_FINDING, Observation.SUPPORT_DEVICES}
    )
    if Observation.NO_FINDING in entailed and beside:
        raise InvalidAnswer(f"verdicts: no_finding is entailed beside {', '.join(beside)}; they exclude each other")
    return verdicts


def _verdict(observation: Observation, given: Verdict | NoFindingVerdict, facts: Sequence[Fact]) -> LabelVerdict:
    place = f"verdicts.{key_of(observation)}"
    judgement = Judgement(given.verdict)
    for number in given.supported_by:
        if not 0 <= number < len(facts):
            allowed = f"0 to {len(facts) - 1}" if facts else "none, there are no facts"
            raise InvalidAnswer(f"{place}.supported_by names fact {_short(number)}; allowed: {allowed}")
    if judgement is Judgement.NOT_MENTIONED and given.supported_by:
        raise InvalidAnswer(f"{place} is not mentioned but supported_by names facts; leave it empty or judge by them")
    if judgement is not Judgement.NOT_MENTIONED and not given.supported_by:
        raise InvalidAnswer(f"{place} is {given.verdict} but supported_by is empty; name the facts, or: not mentioned")
    return LabelVerdict(observation, judgement, tuple(facts[number] for number in dict.fromkeys(given.supported_by)))


def check_sentence(place: str, number: int, num_sentences: int) -> None:
    """Refuses a sentence that the report doesn't have.

    Raises:
        InvalidAnswer: names the place in the answer.
    """
    if not 0 <= number < num_sentences:
        allowed = f"0 to {num_sentences - 1}" if num_sentences else "none, the report says nothing"
        raise InvalidAnswer(f"{place} is {_short(number)}; allowed: {allowed}")


def _short(number: int) -> str:
    return str(number) if abs(number) < 10**6 else "far out of range"
