"""Which weights the policy starts from and how it samples; no heavy imports, so that errors come at once."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, NonNegativeInt, PositiveFloat, PositiveInt, Strict

from orapo.errors import SettingError
from orapo.prompt import ContextElement, Prompt
from orapo.settings import Count, FractionBelowOne, PositiveFraction, Text, settings

Trainable = Literal["all", "language", "projector", "projector_and_vision"]

SAVED_SETTINGS = "orapo_model.json"
"""Stands in a model's or adapter's folder with the settings below, which its files do not say."""

SAVED_KEYS = ("instruction", "context", "dtype", "min_pixels", "max_pixels", "image_tiles")


def _each_once(context: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(context)) < len(context):
        raise ValueError(f"is {list(context)}; each element stands in it once")
    return context


PromptContext = Annotated[tuple[ContextElement, ...], Strict(False), AfterValidator(_each_once)]


@settings
class PromptSettings:
    """The section ``prompt``.

    Attributes:
        context: what the prompt tells of a study beside its own images.
    """

    context: PromptContext = ()


@settings
class SamplingSettings:
    """How completions are drawn.

    Attributes:
        per_study: K, completions drawn for each study; 1 to 100,000.
        temperature: > 0; also the temperature at which log-probabilities are kept and scored.
        top_p: in (0, 1]; tokens are drawn from the smallest set that holds this probability; 1 keeps all.
        top_k: tokens are drawn from this many of the likeliest; 0 keeps all.
        min_p: in [0, 1); no token is drawn whose probability is below this share of the likeliest one's.
        max_new_tokens: 1 to 100,000; a completion is cut there.
        min_new_tokens: in [0, max_new_tokens]; no stop token before it.
        greedy: take the likeliest token instead of drawing one.
    """

    per_study: Count = 1
    temperature: PositiveFloat = 1.0
    top_p: PositiveFraction = 1.0
    top_k: NonNegativeInt = 0
    min_p: FractionBelowOne = 0.0
    max_new_tokens: Count = 256
    min_new_tokens: NonNegativeInt = 0
    greedy: bool = False

    def __post_init__(self) -> None:
        if self.min_new_tokens > self.max_new_tokens:
            raise SettingError(
                f"min_new_tokens is {self.min_new_tokens}; it must be at most max_new_tokens, {self.max_new_tokens}"
            )


@settings
class LoraSettings:
    """A low-rank adapter on the language model.

    Attributes:
        rank: at least 1.
        alpha: scale of the update, > 0; the update is multiplied by alpha / rank.
        dropout: in [0, 1); above 0, sampling and scoring see different policies.
        target_modules: regular expression over module names. Plain names such as "q_proj" or "all-linear" would also
            hit the vision tower.
    """

    rank: PositiveInt
    alpha: PositiveFloat
    dropout: FractionBelowOne = 0.0
    target_modules: str = r".*(language_model|text_model)\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"


@settings
class ModelSettings:
    """Which weights the policy starts from, and how they train.

    Attributes:
        path: a folder with the hub's file layout, or a hub name.
        instruction: what the policy is asked, beside the images.
        context: what the prompt says about a study beside its own images: ``prompt.context`` of the config.
        dtype: "float32" or "bfloat16" of the loaded weights; adapters stay in float32.
        lora: the adapter, or None to train all weights.
        trainable: "all", "language", "projector" (only what brings image features to the language model's width), or
            "projector_and_vision"; with an adapter "language".
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time. "auto" leaves it to
            the experiment, and means True while unresolved.
        scoring: "shared" (where the architecture has that path) or "repeated" (for checking).
        min_pixels: images are enlarged to at least this many pixels; None takes the folder's own setting.
        max_pixels: images are shrunk to at most this many pixels; None takes the folder's own setting.
        image_tiles: whether an image is cut into tiles that have tokens of their own, in architectures that can; None
            leaves it to the processor.
    """

    path: Text
    instruction: str
    context: PromptContext = ()
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora: LoraSettings | None = None
    trainable: Trainable = "all"
    gradient_checkpointing: bool | Literal["auto"] = False
    scoring: Literal["shared", "repeated"] = "shared"
    min_pixels: PositiveInt | None = None
    max_pixels: PositiveInt | None = None
    image_tiles: bool | None = None

    def __post_init__(self) -> None:
        if self.lora is not None and self.trainable != "language":
            raise SettingError(
                f"trainable is {self.trainable!r}; it must be 'language' with lora, which adapts the language model"
            )

    @property
    def prompt(self) -> Prompt:
        """The prompt's instruction and context, beside the study's images."""
        return Prompt(self.instruction, self.context)

    def for_sampling(self) -> "ModelSettings":
        """The same for a policy that only samples: no new adapter, and nothing that only training uses."""
        return replace(self, lora=None, gradient_checkpointing=False)
