"""What a language model is asked: the packaged prompts, filled with one report or with its facts."""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from string import Template
from typing import Annotated

from pydantic import AfterValidator, BaseModel

from orapo.chexpert import OBSERVATIONS
from orapo.errors import DataError
from orapo.records import Fact
from orapo.reward.llm.answers import CombinedAnswer, ExtractedFacts, ObservationVerdicts, key_of
from orapo.reward.llm.grounding import sentences_of
from orapo.settings import checked

EXTRACT = "extract"
ENTAIL = "entail"
COMBINED = "combined"

_SCHEMAS: dict[str, type[BaseModel]] = {
    EXTRACT: ExtractedFacts,
    ENTAIL: ObservationVerdicts,
    COMBINED: CombinedAnswer,
}


@dataclass(frozen=True)
class Request:
    """One question to a language model, the same for every provider.

    Attributes:
        stage: "extract", "entail", "combined", or the name of the term that asks.
        messages: chat messages with "role" and "content".
        schema: what the answer has to be; ``answers`` reads it and checks more than this.
        prompt_digest: sha256 of everything in the question but the subject: templates, definitions and schema.
        subject: the text judged, as the model sees it; with ``prompt_digest`` it makes up the whole question.
    """

    stage: str
    messages: tuple[dict[str, str], ...]
    schema: type[BaseModel]
    prompt_digest: str
    subject: str

    @property
    def private(self) -> tuple[str, ...]:
        """Texts that no message may quote."""
        return (self.subject,)

    def corrected(self, reason: str) -> "Request":
        """The same question, with what was wrong with the last answer."""
        note = f"Your last answer could not be used: {reason}. Answer again, with the JSON object only."
        return replace(self, messages=(*self.messages, {"role": "user", "content": note}))


@dataclass(frozen=True)
class StagePrompt:
    """The two messages of one stage; "$subject" in ``user`` is where the text judged comes in."""

    stage: str
    system: str
    user: str
    schema: type[BaseModel]
    digest: str

    def request(self, subject: str) -> Request:
        """The question on one text."""
        user = Template(self.user).substitute(subject=subject)
        messages = ({"role": "system", "content": self.system}, {"role": "user", "content": user})
        return Request(self.stage, messages, self.schema, self.digest, subject)


@dataclass(frozen=True)
class Prompts:
    """The prompts of one version.

    The report or the facts stand in quoted, numbered lines between tags that the text itself can't close, and the
    instructions call them data: a report that gives orders is judged like any other.

    Attributes:
        version: name of the packaged folder.
        stages: prompt of each stage.
    """

    version: str
    stages: dict[str, StagePrompt]

    def extract(self, report: str) -> Request:
        """Asks for the facts of a report, equation (13); ``answers.read_facts`` reads the answer."""
        return self.stages[EXTRACT].request(numbered(sentences_of(report)))

    def entail(self, facts: Sequence[Fact]) -> Request:
        """Asks for the verdicts on facts, equation (14); ``answers.read_verdicts`` reads the answer."""
        return self.stages[ENTAIL].request(numbered([fact.text for fact in facts]))

    def combined(self, report: str) -> Request:
        """Asks for facts and verdicts in one call; ``answers.read_combined`` reads the answer."""
        return self.stages[COMBINED].request(numbered(sentences_of(report)))


def _known_version(version: str) -> str:
    root = files("orapo.reward.llm").joinpath("prompts")
    versions = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and folder.name.startswith("v"))
    if version not in versions:
        raise ValueError(f"is {version!r}; it must be one of {', '.join(versions)}")
    return version


PromptsVersion = Annotated[str, AfterValidator(_known_version)]


@checked
def load_prompts(version: PromptsVersion = "v1", *, uncertain_is_positive: bool = False) -> Prompts:
    """Reads the packaged prompts.

    Args:
        version: a folder of ``orapo/reward/llm/prompts``; a change of wording is a new version.
        uncertain_is_positive: a statement in doubt is judged entailed, otherwise not mentioned; as in the ground truth.

    Raises:
        SettingError: no such version.
        DataError: the definitions lack an observation, or name an unknown one.
    """
    folder = _folder(version)
    parts = _shared_parts(folder, uncertain_is_positive)
    example = json.loads(_text(folder, "example.json"))
    stages = {}
    for stage, schema in _SCHEMAS.items():
        shown = json.dumps({key: example[key] for key in schema.model_fields})
        stages[stage] = stage_prompt(version, stage, schema, {**parts, "example": shown})
    return Prompts(version, stages)


def stage_prompt(version: str, stage: str, schema: type[BaseModel], parts: Mapping[str, str]) -> StagePrompt:
    """One packaged prompt, ``STAGE.txt``.

    Args:
        version: its folder.
        stage: its name.
        schema: of the answer.
        parts: what stands in its system message for "$name".
    """
    system, user = _text(_folder(version), f"{stage}.txt").removeprefix("[system]\n").split("\n[user]\n")
    system = Template(system).substitute(parts)
    whole = json.dumps([stage, system, user, schema.model_json_schema()], sort_keys=True)
    return StagePrompt(stage, system, user, schema, hashlib.sha256(whole.encode()).hexdigest())


def _folder(version: str) -> Traversable:
    return files("orapo.reward.llm").joinpath("prompts", version)


def _shared_parts(folder: Traversable, uncertain_is_positive: bool) -> dict[str, str]:
    """What the templates name: the rules, with definitions and the rule on doubt put in."""
    table = tomllib.loads(_text(folder, "observations.toml"))
    names = {observation.value for observation in OBSERVATIONS}
    if set(table["observations"]) != names:
        odd = ", ".join(sorted(names ^ set(table["observations"])))
        raise DataError(f"observations.toml: {odd} missing or unknown; each of the 14 observations has one definition")
    definitions = "\n".join(
        f"- {key_of(observation)}: {entry['means']} Not counted: {entry['excludes']}"
        for observation in OBSERVATIONS
        for entry in [table["observations"][observation.value]]
    )
    doubt = table["uncertain"]["affirmed" if uncertain_is_positive else "open"].strip()
    rules = Template(_text(folder, "verdict_rules.txt")).substitute(definitions=definitions, uncertain_rule=doubt)
    return {"fact_rules": _text(folder, "fact_rules.txt"), "verdict_rules": rules}


def _text(folder: Traversable, name: str) -> str:
    return folder.joinpath(name).read_text(encoding="utf-8").strip()


def numbered(texts: Sequence[str]) -> str:
    """One quoted line per text, with its number before it."""
    return "\n".join(f"[{number}] {line}" for number, line in enumerate(quoted(texts)))


def quoted(texts: Sequence[str]) -> list[str]:
    """Each text as one JSON string; "<" is escaped, so that no text ends the tag around it."""
    lines = (json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False) for text in texts)
    return [line.replace("<", "\\u003c") for line in lines]
