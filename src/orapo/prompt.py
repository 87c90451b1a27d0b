"""From a study to chat messages: the only place with prompt wording for the policy."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orapo.records import Context, PriorStudy, Study

DEFAULT_INSTRUCTION = "Write the report of this chest radiograph."
"""The instruction that the embedded policy knows; real models take theirs from ``model.instruction``."""

ContextElement = Literal["indication", "comparison", "technique", "age_sex", "prior_report", "prior_image"]
"""What a prompt can tell of a study beside its own images."""

_SEXES = {"F": "female", "M": "male"}
_IS_FILLED: Mapping[ContextElement, Callable[[Context], bool]] = {
    "indication": lambda context: bool(context.indication),
    "comparison": lambda context: bool(context.comparison),
    "technique": lambda context: bool(context.technique),
    "age_sex": lambda context: context.age_years is not None or bool(context.sex),
    "prior_report": lambda context: context.prior is not None and bool(context.prior.report),
    "prior_image": lambda context: context.prior is not None and bool(context.prior.image_paths),
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a study is presented to the policy.

    Attributes:
        instruction: what the policy is asked to do.
        context: what the prompt tells beside the study's own images; nothing, as the paper's, by default. The order of
            the words is fixed, whatever the order here.
    """

    instruction: str
    context: tuple[ContextElement, ...] = ()

    @property
    def shows_prior_images(self) -> bool:
        """Whether the prior study's images stand before the study's own."""
        return "prior_image" in self.context

    @property
    def tells_prior(self) -> bool:
        """Whether the prompt contains anything of the prior study."""
        return self.shows_prior_images or "prior_report" in self.context

    def num_prior_images(self, study: Study) -> int:
        prior = study.context.prior
        return len(prior.image_paths) if self.shows_prior_images and prior is not None else 0

    def unfilled(self, studies: Iterable[Study]) -> list[ContextElement]:
        """The elements that none of the studies has."""
        missing = list(self.context)
        for study in studies:
            missing = [element for element in missing if not _IS_FILLED[element](study.context)]
            if not missing:
                break
        return missing

    def messages(self, study: Study, num_images: int, num_prior_images: int = 0) -> list[dict[str, Any]]:
        """One user turn in the chat format of transformers: prior images, the study's own, then all words.

        All images come before all words, since some chat templates put them there; the words say which are which.

        Args:
            study: the prompt gives its context, and its question instead of the instruction where it has one.
            num_images: of the study, at least 1 but for a question.
            num_prior_images: of the prior study, as they are shown.
        """
        images: list[dict[str, Any]] = [{"type": "image"} for _ in range(num_prior_images + num_images)]
        asked = self.instruction if study.question is None else study.question.text
        words = "\n".join([*self.context_lines(study.context, num_images, num_prior_images), asked])
        return [{"role": "user", "content": [*images, {"type": "text", "text": words}]}]

    def context_lines(self, context: Context, num_images: int, num_prior_images: int) -> Iterator[str]:
        """The lines before the instruction; arguments as for ``messages``.

        What a study lacks is not mentioned, but for the prior study: whether a report may speak of a change hangs on
        it, and models are known to invent priors unless the prompt says that there is none.
        """
        for element in ("indication", "comparison", "technique"):
            if element in self.context and (text := getattr(context, element)):
                yield f"{element.capitalize()}: {text}"
        if "age_sex" in self.context:
            age = "" if context.age_years is None else f"{context.age_years} years old"
            if told := ", ".join(filter(None, (age, _SEXES.get(context.sex, "")))):
                yield f"Patient: {told}."
        if self.tells_prior:
            yield from self._prior_lines(context.prior, num_images, num_prior_images)

    def _prior_lines(self, prior: PriorStudy | None, num_images: int, num_prior_images: int) -> Iterator[str]:
        if prior is None and not num_prior_images:
            yield "Prior study: none."
            return
        if prior is not None and prior.days_before is not None:
            yield f"Prior study: {_days_before(prior.days_before)}."
        if num_prior_images:
            own = range(num_prior_images + 1, num_prior_images + num_images + 1)
            yield f"Prior study: {_images(range(1, num_prior_images + 1))}. This study: {_images(own)}."
        elif self.shows_prior_images:
            yield "Prior study: no image."
        if prior is not None and prior.report and "prior_report" in self.context:
            yield f"Report of the prior study: {prior.report}"


def _days_before(days: int) -> str:
    return "on the same day" if days == 0 else f"{days} day{'s' if days > 1 else ''} before"


def _images(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"image {numbers[0]}"
    return f"images {numbers[0]} {'and' if len(numbers) == 2 else 'to'} {numbers[-1]}"
