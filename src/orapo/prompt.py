"""Study to chat messages: the only place with prompt wording for the policy."""

from typing import Any

DEFAULT_INSTRUCTION = "Write the report of this chest radiograph."
"""The instruction that the embedded policy knows; real models take theirs from ``model.instruction``."""


def chat_messages(num_images: int, instruction: str) -> list[dict[str, Any]]:
    """One user turn in the chat format of transformers: the study's images in order, then the instruction.

    Args:
        num_images: at least 1.
        instruction: what the policy is asked to do.
    """
    images: list[dict[str, Any]] = [{"type": "image"} for _ in range(num_images)]
    return [{"role": "user", "content": [*images, {"type": "text", "text": instruction}]}]
