"""The work of one training step that both sides of benchmarks/step.py do, and the checks that they did it."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image
from random_policy import image_tokens, random_words

from orapo.prompt import DEFAULT_INSTRUCTION

INSTRUCTION = DEFAULT_INSTRUCTION
KL_COEF = 0.04
LEARNING_RATE = 1e-5
LORA_RANK, LORA_ALPHA = 16, 32


@dataclass(frozen=True)
class Work:
    """One step: roll out, reward, score by the reference, update.

    Attributes:
        folder: of the policy.
        image: pixels per side of a square image.
        prompts: studies per step.
        k: rollouts per study.
        tokens: of every completion.
        threads: of torch.
        lora: whether an adapter on the language model trains instead of all weights.
        micro: studies scored at a time.
        seed: of the images and of sampling.
        device: "cpu" or "cuda".
        dtype: of the weights, float32 or bfloat16.
        checkpointing: whether activations are recomputed in the backward pass.
    """

    folder: str
    image: int
    prompts: int
    k: int
    tokens: int
    threads: int
    lora: bool
    micro: int
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    checkpointing: bool = False

    def to_json(self) -> str:
        """One line for ``from_json`` in another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Work":
        """The work that ``to_json`` wrote."""
        return cls(**json.loads(text))

    def images(self) -> list[Image.Image]:
        """One image of noise per study."""
        draw = np.random.default_rng(self.seed)
        shape = (self.image, self.image, 3)
        return [Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)) for _ in range(self.prompts)]

    def oracle_reports(self) -> list[str]:
        """Made-up reports of at least ``tokens`` tokens, to be cut there."""
        return [random_words(self.tokens, self.seed + 1 + study) for study in range(self.prompts)]


@dataclass(frozen=True)
class Done:
    """What a side says it has done in one step, counted from the token ids that it worked on.

    Attributes:
        prompts: different studies.
        rollouts: over all studies.
        shortest: tokens of the shortest completion.
        longest: tokens of the longest completion.
        prompt_tokens: of one prompt, image tokens included.
        image_tokens: of one prompt.
    """

    prompts: int
    rollouts: int
    shortest: int
    longest: int
    prompt_tokens: int
    image_tokens: int

    @classmethod
    def count(
        cls,
        prompts: int,
        prompt_ids: Sequence[Sequence[int]],
        completion_ids: Sequence[Sequence[int]],
        image_token_id: int,
    ) -> "Done":
        """Counts from the token ids of all prompts and of all completions of a step.

        Raises:
            SystemExit: prompts differ in length or in image tokens.
        """
        sizes = {(len(ids), sum(token == image_token_id for token in ids)) for ids in prompt_ids}
        if len(sizes) != 1:
            raise SystemExit(f"prompts have different (tokens, image tokens): {sorted(sizes)}")
        prompt_tokens, images = sizes.pop()
        lengths = [len(ids) for ids in completion_ids]
        return cls(prompts, len(lengths), min(lengths), max(lengths), prompt_tokens, images)


def check_work(work: Work, side: str, done: Done, other: Done) -> None:
    """Refuses to compare what is not the same work.

    Raises:
        SystemExit: a number is not the one asked for, or the prompt is not as long as the other side's.
    """
    asked = {
        "prompts": work.prompts,
        "rollouts": work.prompts * work.k,
        "shortest": work.tokens,
        "longest": work.tokens,
        "image_tokens": image_tokens(work.image),
        "prompt_tokens": other.prompt_tokens,
    }
    for name, value in asked.items():
        if getattr(done, name) != value:
            raise SystemExit(f"not the same work: {side} had {name} = {getattr(done, name)}, asked was {value}")


def reward_of(text: str) -> float:
    """A number in [0, 1) that depends on the text alone and costs nothing."""
    return zlib.crc32(text.encode()) % 1000 / 1000
