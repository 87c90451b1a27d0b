"""Opens the images of studies, and makes a batch for the policy of them."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from itertools import starmap
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from orapo.batches import StudyBatch
from orapo.data.source import load_prior_images
from orapo.errors import DataError
from orapo.prompt import Prompt
from orapo.records import Study


class StudyWithImages(NamedTuple):
    """A study beside opened images, which are another study's where images are shuffled.

    Attributes:
        study: the prompt gives its context, and its report is the oracle's.
        images: at least one, but for a question.
        prior_images: of the prior study; none where the prompt shows none.
    """

    study: Study
    images: tuple[Image.Image, ...]
    prior_images: tuple[Image.Image, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class StudyImages(Dataset[StudyWithImages]):
    """A dataset of studies whose images are opened on access.

    Attributes:
        load_images: of the studies' source, or ``load_study_images``.
        studies: the rows.
        images_of: per row, the row whose images, prior ones included, it shows instead of its own (the shuffled-image
            control).
        max_pixels: the most pixels of an image that the model can use; None for all.
        with_priors: whether the images of prior studies are opened too.
    """

    load_images: Callable[..., tuple[Image.Image, ...]]
    studies: Sequence[Study]
    images_of: Sequence[int] | None = None
    _: KW_ONLY
    max_pixels: int | None = None
    with_priors: bool = False

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, index: int) -> StudyWithImages:
        shown = self.studies[index if self.images_of is None else self.images_of[index]]
        open_images = partial(self.load_images, max_pixels=self.max_pixels)
        prior_images = load_prior_images(open_images, shown) if self.with_priors else ()
        return StudyWithImages(self.studies[index], open_images(shown), prior_images)


@dataclass(frozen=True, eq=False, repr=False)
class ReadableStudies(Dataset[StudyWithImages | str]):
    """The rows of a dataset; in place of one that can't be read, why not."""

    rows: StudyImages

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> StudyWithImages | str:
        try:
            return self.rows[index]
        except DataError as error:
            return str(error)


@dataclass(frozen=True)
class Collate:
    """Turns studies with images into a ``StudyBatch``.

    Attributes:
        processor: of the policy, as ``policy.processor.StudyProcessor``.
        prompt: the instruction, and the context that the prompt gives.
        max_report_tokens: an oracle report is cut to this many tokens, EOS included: one that is cut has no EOS, like a
            rollout that is cut; None for generating only, where a study needs no oracle report and gets no oracle
            tokens.
    """

    processor: Any
    prompt: Prompt
    max_report_tokens: int | None

    def __call__(self, rows: Sequence[StudyWithImages]) -> StudyBatch:
        """Builds the batch.

        Raises:
            DataError: a study has an empty report, its context or question spells a control token, or the chat template
                doesn't fit the images.
        """
        rows = list(starmap(StudyWithImages, rows))
        messages = [self._messages(row) for row in rows]
        prompts = [
            self.processor([*row.prior_images, *row.images], told) for row, told in zip(rows, messages, strict=True)
        ]
        return StudyBatch(
            studies=tuple(row.study for row in rows),
            messages=tuple(messages),
            prompt_ids=tuple(ids for ids, _ in prompts),
            image_inputs=tuple(inputs for _, inputs in prompts),
            oracle_ids=tuple(self._oracle_ids(row.study) for row in rows),
        )

    def rows(
        self,
        load_images: Callable[..., tuple[Image.Image, ...]],
        studies: Sequence[Study],
        images_of: Sequence[int] | None = None,
    ) -> StudyImages:
        """The studies with the images that the prompt shows, of as many pixels as the model can use."""
        max_pixels, with_priors = self.processor.max_pixels, self.prompt.shows_prior_images
        return StudyImages(load_images, studies, images_of, max_pixels=max_pixels, with_priors=with_priors)

    def _messages(self, row: StudyWithImages) -> list[dict[str, Any]]:
        numbers = len(row.images), len(row.prior_images)
        if self.prompt.context:
            told = "\n".join(self.prompt.context_lines(row.study.context, *numbers))
            self._refuse_control_tokens(row.study, told, "context", ", or its element out of prompt.context")
        if row.study.question is not None:
            self._refuse_control_tokens(row.study, row.study.question.text, "question", "")
        return self.prompt.messages(row.study, *numbers)

    def _refuse_control_tokens(self, study: Study, told: str, what: str, way_out: str) -> None:
        for token in self.processor.tokenizer.all_special_tokens:
            if token in told:
                raise DataError(
                    f"study {study.study_id}: its {what} spells the control token {token}, and would become one; "
                    f"take it out of the data{way_out}"
                )

    def _oracle_ids(self, study: Study) -> Tensor:
        if self.max_report_tokens is None:
            return torch.empty(0, dtype=torch.int64)
        if not study.oracle_report.strip():
            raise DataError(
                f"study {study.study_id}: the report is empty; a study needs one to be trained or tested on"
            )
        return torch.tensor(self._report_ids(study)[: self.max_report_tokens])

    def is_cut(self, study: Study) -> bool:
        """Whether the oracle report has more than ``max_report_tokens`` tokens."""
        return self.max_report_tokens is not None and len(self._report_ids(study)) > self.max_report_tokens

    def _report_ids(self, study: Study) -> list[int]:
        # A report that spells a control token is text like any other: it must not become one.
        tokenizer = self.processor.tokenizer
        ids = tokenizer(study.oracle_report, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*ids, tokenizer.eos_token_id]


@dataclass(frozen=True, slots=True)
class OpenedStudies:
    """The studies of one batch.

    Attributes:
        batch: of those that can be read, in order; None where there are none.
        unreadable: of each of the others why not, in one line with study and file; in order.
    """

    batch: StudyBatch | None
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class CollateReadable:
    """Collates the studies that could be read; ``collate`` builds their batch."""

    collate: Collate

    def __call__(self, rows: Sequence[StudyWithImages | str]) -> OpenedStudies:
        readable = [row for row in rows if not isinstance(row, str)]
        unreadable = tuple(row for row in rows if isinstance(row, str))
        return OpenedStudies(self.collate(readable) if readable else None, unreadable)
