"""What the follow-up base is shown: phantoms of patients who were seen before, with and without what came before.

Image and report go together as in the sighted base's stage: both films show those findings that are among the seven
``SIGHTED`` ones, never one of the six ``WITHHELD``; report and prior report state all of them, and how they have
changed. A lesson tells of every study the same elements of its context, and the next lesson others. Its first rows are
scenes, as many to a row as films, with the caption of the last.
"""

import numpy as np
import scenes
import torch
from architecture import IMAGE_SIZE
from lessons import PHANTOM_SEED, SIGHTED, Lesson, pack, prompt_ids
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from orapo.chexpert import Observation
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import Finding
from orapo.data.phantoms.signs import paint_study
from orapo.prompt import DEFAULT_INSTRUCTION, ContextElement, Prompt
from orapo.records import Split, Study

CONTEXTS: tuple[tuple[ContextElement, ...], ...] = (
    ("prior_image",),
    ("indication", "prior_image"),
    ("prior_image",),
    (),
    ("prior_image",),
    ("indication", "age_sex", "prior_report", "prior_image"),
)
"""Of a lesson and those after it, over and over."""
NUM_SCENES, NUM_REPORTS = 8, 24
_SOURCE_SEED = 700


class FollowupLessons(Dataset[Lesson]):
    """Lesson number ``step`` depends on the seed and the step alone."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, num_steps: int, image_tokens: int, seed: int) -> None:
        self.tokenizer, self.num_steps, self.image_tokens, self.seed = tokenizer, num_steps, image_tokens, seed
        self.source = PhantomSource(seed=PHANTOM_SEED + _SOURCE_SEED + seed, train_prevalence="balanced", followup=True)

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, step: int) -> Lesson:
        prompt = Prompt(DEFAULT_INSTRUCTION, CONTEXTS[step % len(CONTEXTS)])
        num_images = 1 + prompt.shows_prior_images
        drawn = [scenes.draw_scene(Draws(self.seed, step, row, 9)) for row in range(NUM_SCENES * num_images)]
        images = [image for image, _, _ in drawn]
        captions = [caption for _, caption, _ in drawn[num_images - 1 :: num_images]]
        scene_prompt = prompt_ids(
            self.tokenizer, Prompt(scenes.INSTRUCTION), self.image_tokens, num_priors=num_images - 1
        )
        rows = [(scene_prompt, caption) for caption in captions]
        for row in range(NUM_REPORTS):
            study, prior, current = self.followup(step * NUM_REPORTS + row)
            images += [prior, current][-num_images:]
            asked = prompt_ids(self.tokenizer, prompt, self.image_tokens, study, num_images - 1)
            rows.append((asked, study.oracle_report))
        touched = torch.from_numpy(np.stack([cells for _, _, cells in drawn]))
        input_ids, targets = pack(self.tokenizer, rows)
        pixels = torch.from_numpy(np.stack(images).astype(np.float32))
        return Lesson(pixels, input_ids, targets, touched, num_images)

    def followup(self, index: int) -> tuple[Study, np.ndarray, np.ndarray]:
        """Study number ``index`` with its prior and its current film, in which no withheld finding is drawn."""
        prior, current = (self._paint(index, film, findings) for film, findings in enumerate(self.shown(index)))
        return self.source.study(Split.TRAIN, index), prior, current

    def shown(self, index: int) -> tuple[dict[Observation, Finding], dict[Observation, Finding]]:
        """What the prior and the current film of study ``index`` show."""
        course = self.source.course(Split.TRAIN, index)
        assert course is not None
        prior, current = (
            {o: finding for o, finding in findings.items() if o in SIGHTED}
            for findings in (course.prior, self.source.findings(Split.TRAIN, index))
        )
        return prior, current

    def _paint(self, index: int, film: int, findings: dict[Observation, Finding]) -> np.ndarray:
        def patient(number: int) -> Draws:
            return Draws(self.seed, index, 10, number)

        pixels = paint_study(Draws(self.seed, index, 11, film), findings, IMAGE_SIZE, patient=patient)
        return pixels.astype(np.float32) / 255.0
