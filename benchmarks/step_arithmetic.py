"""How many operations a step needs, by the sizes of the policy: what is left of a ratio when both sides are as fast.

Counted are the matrix products of all linear layers and attentions, two operations for each multiplication. A backward
pass is twice a forward pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from random_policy import MERGE, PATCH, PolicySize
from step_work import Done, Work

CHANNELS, FRAMES = 3, 2
WINDOW = 112
"""Pixels per side of the vision tower's windows."""


@dataclass(frozen=True)
class Operations:
    """Of one forward pass.

    Attributes:
        vision: of one image.
        prompt: of one prompt in the language model.
        completion: of one completion behind its prompt.
        logits: of all tokens of one completion.
        prompt_end: what of the prompt comes behind the last layer's attention.
    """

    vision: float
    prompt: float
    completion: float
    logits: float
    prompt_end: float


def count(size: PolicySize, image: int, prompt_tokens: int, tokens: int) -> Operations:
    """The parts of a forward pass.

    Args:
        size: of the policy.
        image: pixels per side.
        prompt_tokens: image tokens included.
        tokens: of a completion.
    """
    text = {name: int(str(value)) for name, value in size.text.items()}
    width, heads, key_heads = text["hidden_size"], text["num_attention_heads"], text["num_key_value_heads"]
    attention_weights = 2 * width * width + 2 * width * width * key_heads // heads
    mlp_weights = 3 * width * text["intermediate_size"]
    per_token = 2 * text["num_hidden_layers"] * (attention_weights + mlp_weights)
    # Queries times keys and weights times values, for every pair of which one sees the other.
    per_pair = 4 * text["num_hidden_layers"] * width
    prompt_pairs = prompt_tokens * (prompt_tokens + 1) / 2
    pairs = tokens * prompt_tokens + tokens * (tokens + 1) / 2
    return Operations(
        vision=_vision(size.vision, width, image),
        prompt=prompt_tokens * per_token + prompt_pairs * per_pair,
        completion=tokens * per_token + pairs * per_pair,
        logits=2 * tokens * width * size.vocabulary,
        prompt_end=2 * (prompt_tokens - 1) * (width * width + mlp_weights),
    )


def _vision(vision: Mapping[str, Any], text_width: int, image: int) -> float:
    width, depth = vision["hidden_size"], vision["depth"]
    patches, in_window = (image // PATCH) ** 2, (min(image, WINDOW) // PATCH) ** 2
    num_full = len(vision["fullatt_block_indexes"])
    layers = depth * (4 * width * width + 3 * width * vision["intermediate_size"])
    embedding = CHANNELS * FRAMES * PATCH * PATCH * width
    merged = MERGE * MERGE * width
    merger = (merged * merged + merged * text_width) / (MERGE * MERGE)
    pairs = num_full * patches + (depth - num_full) * in_window
    return 2 * patches * (layers + embedding + merger) + 4 * patches * pairs * width


def step_operations(size: PolicySize, work: Work, done: Done) -> dict[str, float]:
    """Operations of a whole step of each side, when all weights train.

    TRL repeats prompt and image for each rollout in rollouts, reference and update. Ours computes them once in each,
    and leaves out what of a prompt predicts nothing. Where all studies are scored at once, the update differentiates
    the rollouts' own forward pass and computes none.
    """
    one = count(size, work.image, done.prompt_tokens, work.tokens)
    completions = work.k * (one.completion + one.logits)
    # Forward passes over everything: rollouts, reference, update; and the backward pass, twice one.
    repeated = 5 * (work.k * (one.vision + one.prompt) + completions)
    once = one.vision + one.prompt - one.prompt_end + completions
    shared = (4 if work.micro >= work.prompts else 5) * once
    return {"trl": work.prompts * repeated, "ours": work.prompts * shared}
