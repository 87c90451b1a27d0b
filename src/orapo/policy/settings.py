"""Which weights the policy starts from and how it samples; no heavy imports, so that a bad value is refused at once."""

from dataclasses import dataclass, replace

from orapo.bounds import require_boolean, require_number, require_whole
from orapo.errors import SettingError

DTYPES = ("float32", "bfloat16")
SCORINGS = ("shared", "repeated")
TRAINABLE = ("all", "language", "projector", "projector_and_vision")

SAVED_SETTINGS = "orapo_model.json"
"""Stands in a model's or adapter's folder with the settings below, which its files do not say."""

SAVED_KEYS = ("instruction", "dtype", "min_pixels", "max_pixels")


@dataclass(frozen=True)
class SamplingSettings:
    """How completions are drawn.

    Attributes:
        per_study: K, completions drawn for each study; at least 1.
        temperature: > 0; also the temperature at which log-probabilities are kept and scored.
        top_p: in (0, 1]; tokens are drawn from the smallest set that holds this probability; 1 keeps all.
        max_new_tokens: > 0; a completion is cut there.
        min_new_tokens: in [0, max_new_tokens]; no stop token before it.
        greedy: take the likeliest token instead of drawing one.
    """

    per_study: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    min_new_tokens: int = 0
    greedy: bool = False

    def __post_init__(self) -> None:
        require_whole("rollout.per_study", self.per_study, 1)
        require_number("rollout.temperature", self.temperature, above=0)
        require_number("rollout.top_p", self.top_p, above=0, at_most=1)
        require_whole("rollout.max_new_tokens", self.max_new_tokens, 1)
        require_whole("rollout.min_new_tokens", self.min_new_tokens, 0)
        require_boolean("rollout.greedy", self.greedy)
        if self.min_new_tokens > self.max_new_tokens:
            raise SettingError(
                f"rollout.min_new_tokens is {self.min_new_tokens}; it must be at most "
                f"rollout.max_new_tokens, which is {self.max_new_tokens}"
            )


@dataclass(frozen=True)
class LoraSettings:
    """A low-rank adapter on the language model.

    Attributes:
        rank: at least 1.
        alpha: scale of the update, > 0; the update is multiplied by alpha / rank.
        dropout: in [0, 1); above 0, sampling and scoring see different policies.
        target_modules: regular expression over module names. Plain names such as "q_proj" or "all-linear" would also
            hit the vision tower.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    target_modules: str = r".*(language_model|text_model)\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"

    def __post_init__(self) -> None:
        require_whole("model.lora.rank", self.rank, 1)
        require_number("model.lora.alpha", self.alpha, above=0)
        require_number("model.lora.dropout", self.dropout, at_least=0, below=1)


@dataclass(frozen=True)
class ModelSettings:
    """Which weights the policy starts from, and how they train.

    Attributes:
        path: a folder with the hub's file layout, or a hub name.
        instruction: what the policy is asked, beside the images.
        dtype: "float32" or "bfloat16" of the loaded weights; adapters stay in float32.
        lora: the adapter, or None to train all weights.
        trainable: "all", "language", "projector" (only what brings image features to the language model's width), or
            "projector_and_vision"; with an adapter "language".
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.
        scoring: "shared" (where the architecture has that path) or "repeated" (for checking).
        min_pixels: images are enlarged to at least this many pixels; None takes the folder's own setting.
        max_pixels: images are shrunk to at most this many pixels; None takes the folder's own setting.
    """

    path: str
    instruction: str
    dtype: str = "float32"
    lora: LoraSettings | None = None
    trainable: str = "all"
    gradient_checkpointing: bool = False
    scoring: str = "shared"
    min_pixels: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path.strip():
            raise SettingError(f"model.path is {self.path!r}; it must be a folder or a hub name")
        if self.dtype not in DTYPES:
            raise SettingError(f"model.dtype is {self.dtype!r}; it must be one of {', '.join(DTYPES)}")
        if self.scoring not in SCORINGS:
            raise SettingError(f"model.scoring is {self.scoring!r}; it must be one of {', '.join(SCORINGS)}")
        if self.trainable not in TRAINABLE:
            raise SettingError(f"model.trainable is {self.trainable!r}; it must be one of {', '.join(TRAINABLE)}")
        require_boolean("model.gradient_checkpointing", self.gradient_checkpointing)
        for key in ("min_pixels", "max_pixels"):
            if getattr(self, key) is not None:
                require_whole(f"model.{key}", getattr(self, key), 1)
        if self.lora is not None and self.trainable != "language":
            raise SettingError(
                f"model.trainable is {self.trainable!r}; it must be 'language' with model.lora, which adapts the "
                "language model"
            )

    def for_sampling(self) -> "ModelSettings":
        """The same for a policy that only samples: no new adapter, and nothing else that training alone uses."""
        return replace(self, lora=None, gradient_checkpointing=False)
