"""Studies with their images to a batch for the policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from orapo.batches import StudyBatch
from orapo.errors import DataError
from orapo.prompt import chat_messages
from orapo.records import Study

IMAGE_PLACEHOLDER = "<|image_pad|>"
"""One such token in a Qwen chat template stands for an image; it is repeated once per merged patch."""

StudyWithImages = tuple[Study, tuple[Image.Image, ...]]


@dataclass(frozen=True)
class Collate:
    """Turns studies with images into a ``StudyBatch``.

    Attributes:
        tokenizer: of the policy; its chat template builds the prompt.
        image_processor: of the policy.
        instruction: what the policy is asked.
        max_report_tokens: an oracle report is cut to this many tokens, EOS included; None for generating only, where a
            study needs no oracle report and gets no oracle tokens.
    """

    tokenizer: PreTrainedTokenizerBase
    image_processor: Any
    instruction: str
    max_report_tokens: int | None

    def __call__(self, rows: Sequence[StudyWithImages]) -> StudyBatch:
        """Builds the batch.

        Raises:
            DataError: a study has an empty report.
        """
        pixels = self.image_processor([image for _, images in rows for image in images], return_tensors="pt")
        grids = pixels["image_grid_thw"]
        image_tokens = (grids.prod(dim=1) // self.image_processor.merge_size**2).tolist()
        prompt_ids, first = [], 0
        for _, images in rows:
            prompt_ids.append(self._prompt_ids(image_tokens[first : first + len(images)]))
            first += len(images)
        return StudyBatch(
            studies=tuple(study for study, _ in rows),
            prompt_ids=tuple(prompt_ids),
            pixel_values=pixels["pixel_values"],
            image_grid_thw=grids,
            images_per_study=tuple(len(images) for _, images in rows),
            oracle_ids=tuple(self._oracle_ids(study) for study, _ in rows),
        )

    def _prompt_ids(self, image_tokens: Sequence[int]) -> Tensor:
        text = self.tokenizer.apply_chat_template(
            chat_messages(len(image_tokens), self.instruction), tokenize=False, add_generation_prompt=True
        )
        pieces = str(text).split(IMAGE_PLACEHOLDER)
        if len(pieces) != len(image_tokens) + 1:
            raise DataError(
                f"the chat template wrote {len(pieces) - 1} {IMAGE_PLACEHOLDER} for {len(image_tokens)} images; "
                "the instruction must not contain that token and the template must write one per image"
            )
        expanded = pieces[0]
        for count, piece in zip(image_tokens, pieces[1:], strict=True):
            expanded += IMAGE_PLACEHOLDER * count + piece
        return torch.tensor(self.tokenizer(expanded, add_special_tokens=False)["input_ids"])

    def _oracle_ids(self, study: Study) -> Tensor:
        if self.max_report_tokens is None:
            return torch.empty(0, dtype=torch.int64)
        if not study.oracle_report.strip():
            raise DataError(
                f"study {study.study_id}: the report is empty; a study needs one to be trained or tested on"
            )
        # A report that spells a control token is text like any other: it must not become one.
        ids = self.tokenizer(study.oracle_report, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return torch.tensor([*ids[: self.max_report_tokens - 1], self.tokenizer.eos_token_id])
