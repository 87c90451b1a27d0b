"""What a language model may answer, and how it's read: anything else is an ``InvalidAnswer`` with its reason.

Providers return malformed JSON, cut-off text and refusals as success, so nothing in an answer is taken on trust.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.labeler.sentences import split_sentences
from orapo.records import Fact, Judgement, LabelVerdict
from orapo.remote.call_errors import InvalidAnswer
from orapo.reward.llm.grounding import first_foreign_word, sentences_of
from orapo.reward.llm.json_text import read_object
from orapo.reward.llm.schemas import (
    CombinedAnswer,
    ExtractedFact,
    ExtractedFacts,
    NoFindingVerdict,
    ObservationVerdicts,
    StrictAnswer,
    Verdict,
    VerdictTable,
    key_of,
)

__all__ = [
    "CombinedAnswer",
    "ExtractedFacts",
    "ObservationVerdicts",
    "key_of",
    "nothing_mentioned",
    "read_combined",
    "read_facts",
    "read_verdicts",
]


_Answer = TypeVar("_Answer", bound=StrictAnswer)
_KNOWN_KEYS = frozenset(
    {"facts", "verdicts", "sentence", "text", "verdict", "supported_by", *VerdictTable.model_fields}
)
_MOST_REASONS = 3


def nothing_mentioned() -> tuple[LabelVerdict, ...]:
    """The verdicts on a report without facts, for which a model needn't be asked."""
    return tuple(LabelVerdict(observation, Judgement.NOT_MENTIONED) for observation in OBSERVATIONS)


def read_facts(answer: str | None, report: str) -> tuple[Fact, ...]:
    """The facts of an answer to ``Prompts.extract(report)``, in its order; none is a valid answer.

    Raises:
        InvalidAnswer: not such an object, a sentence that the report doesn't have, or a fact with other words than the
            report's (see ``grounding.first_foreign_word``).
    """
    return _facts(_parse(ExtractedFacts, answer).facts, report)


def read_verdicts(answer: str | None, facts: Sequence[Fact]) -> tuple[LabelVerdict, ...]:
    """The verdicts of an answer to ``Prompts.entail(facts)``, in the order of ``OBSERVATIONS``.

    A fact named twice in one ``supported_by`` counts once.

    Raises:
        InvalidAnswer: not such an object, an observation missing, unknown or given twice, a fact that isn't there, a
            verdict without facts or "not mentioned" with some, No Finding contradicted or beside a finding.
    """
    return _verdicts(_parse(ObservationVerdicts, answer).verdicts, facts)


def read_combined(answer: str | None, report: str) -> tuple[tuple[Fact, ...], tuple[LabelVerdict, ...]]:
    """Facts and verdicts of an answer to ``Prompts.combined(report)``.

    Raises:
        InvalidAnswer: as from ``read_facts`` and ``read_verdicts``.
    """
    combined = _parse(CombinedAnswer, answer)
    facts = _facts(combined.facts, report)
    return facts, _verdicts(combined.verdicts, facts)


def _parse(schema: type[_Answer], answer: str | None) -> _Answer:
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
    place = ""
    for part in location:
        place += f"[{part}]" if isinstance(part, int) else f".{part if part in _KNOWN_KEYS else '?'}"
    return place.lstrip(".") or "the object"


def _facts(extracted: Sequence[ExtractedFact], report: str) -> tuple[Fact, ...]:
    sentences = sentences_of(report)
    spans = [sentence.span() for sentence in split_sentences(report)]
    facts = []
    for number, fact in enumerate(extracted):
        text = " ".join(fact.text.split())
        if not text.isprintable() or not any(map(str.isalpha, text)):
            raise InvalidAnswer(f"facts[{number}].text holds no statement; write words")
        if not 0 <= fact.sentence < len(sentences):
            allowed = f"0 to {len(sentences) - 1}" if sentences else "none, the report says nothing"
            raise InvalidAnswer(f"facts[{number}].sentence is {_short(fact.sentence)}; allowed: {allowed}")
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


def _short(number: int) -> str:
    return str(number) if abs(number) < 10**6 else "far out of range"
