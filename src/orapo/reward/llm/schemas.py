"""The JSON that a language model is asked for: sent to providers as a schema, and read back by ``answers``.

No ranges or lengths stand here: strict structured output refuses them with some providers; ``answers`` checks them.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from orapo.chexpert import Observation


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
