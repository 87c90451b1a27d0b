"""Studies with their images to a batch for the policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.errors import DataError
from orapo.records import Study

StudyWithImages = tuple[Study, tuple[Image.Image, ...]]


@dataclass(frozen=True)
class Collate:
    """Turns studies with images into a ``StudyBatch``.

    Attributes:
        processor: of the policy, as ``policy.processor.StudyProcessor``.
        instruction: what the policy is asked.
        max_report_tokens: an oracle report is cut to this many tokens, EOS included; None for generating only, where a
            study needs no oracle report and gets no oracle tokens.
    """

    processor: Any
    instruction: str
    max_report_tokens: int | None

    def __call__(self, rows: Sequence[StudyWithImages]) -> StudyBatch:
        """Builds the batch.

        Raises:
            DataError: a study has an empty report, or the chat template doesn't fit the images.
        """
        prompts = [self.processor(images, self.instruction) for _, images in rows]
        return StudyBatch(
            studies=tuple(study for study, _ in rows),
            prompt_ids=tuple(ids for ids, _ in prompts),
            image_inputs=tuple(inputs for _, inputs in prompts),
            oracle_ids=tuple(self._oracle_ids(study) for study, _ in rows),
        )

    def _oracle_ids(self, study: Study) -> Tensor:
        if self.max_report_tokens is None:
            return torch.empty(0, dtype=torch.int64)
        if not study.oracle_report.strip():
            raise DataError(
                f"study {study.study_id}: the report is empty; a study needs one to be trained or tested on"
            )
        # A report that spells a control token is text like any other: it must not become one.
        tokenizer = self.processor.tokenizer
        ids = tokenizer(study.oracle_report, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return torch.tensor([*ids[: self.max_report_tokens - 1], tokenizer.eos_token_id])
