"""What a base is shown, step by step: scenes with captions, and reports whose findings the image shows in part.

Reports come with a wrong image (another study's) in the first stage. In the second stage the image shows at most
cardiomegaly, effusion and devices of its own report: these three are all the sight of radiology that the embedded base
gets. A third stage, for the sighted base alone, goes on from there: the image shows those findings of its report that
are among the seven ``SIGHTED`` ones, never one of the six ``WITHHELD``, which reports state as often as all others. The
base of the rich wording goes through that stage once more, with rich reports.
"""

from dataclasses import dataclass

import numpy as np
import scenes
import torch
from architecture import IMAGE_SIZE
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase
from vocabulary import END_OF_TURN, IMAGE

from orapo.chexpert import Observation
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import Finding
from orapo.data.phantoms.rich import WordingName
from orapo.data.phantoms.signs import paint_study
from orapo.prompt import DEFAULT_INSTRUCTION, Prompt
from orapo.records import Split, Study

SHOWN = (Observation.CARDIOMEGALY, Observation.PLEURAL_EFFUSION, Observation.SUPPORT_DEVICES)
SHOWN_PROBABILITY = 0.8
SIGHTED = (
    *SHOWN,
    Observation.ENLARGED_CARDIOMEDIASTINUM,
    Observation.LUNG_OPACITY,
    Observation.EDEMA,
    Observation.ATELECTASIS,
)
WITHHELD = (
    Observation.LUNG_LESION,
    Observation.CONSOLIDATION,
    Observation.PNEUMONIA,
    Observation.PNEUMOTHORAX,
    Observation.PLEURAL_OTHER,
    Observation.FRACTURE,
)
PHANTOM_SEED = 771_000
"""Far from the seeds that experiments use, so that no study of theirs was ever read by the base."""
SIGHT_SEED = 500
_POOL = 1_000_000
NOBODY = Study("", "", Split.TRAIN, ("",), ("",), "", {})
"""A study without context, for prompts that tell none."""


@dataclass(frozen=True)
class Stage:
    """One part of the curriculum: rows per batch of each kind."""

    name: str
    fraction: float
    num_scenes: int
    num_wrong_image_reports: int
    num_trio_reports: int
    num_sight_reports: int = 0


STAGES = (Stage("shapes", 0.72, 26, 6, 0), Stage("trio", 0.28, 14, 0, 18))
SIGHT_STAGES = (Stage("sight", 1.0, 10, 0, 0, 22),)


@dataclass(frozen=True)
class Lesson:
    """One batch of L-token rows.

    Attributes:
        images: [B * N, 112, 112] float32 in [0, 1], row by row.
        input_ids: [B, L], padded on the right.
        targets: [B, L], the next token where it is learnt, -100 elsewhere.
        touched: [scenes * N, 16, 13] of 0 and 1; the batch's first rows are its scenes.
        num_images: N of each row.
    """

    images: Tensor
    input_ids: Tensor
    targets: Tensor
    touched: Tensor
    num_images: int = 1


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, image_tokens: int, study: Study = NOBODY, num_priors: int = 0
) -> list[int]:
    """The prompt with one image of the study after its prior ones, placeholders repeated for every image token."""
    messages = prompt.messages(study, 1, num_priors)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text.replace(IMAGE, IMAGE * image_tokens))["input_ids"]
    return ids


def pack(tokenizer: PreTrainedTokenizerBase, rows: list[tuple[list[int], str]]) -> tuple[Tensor, Tensor]:
    """Prompts with the answers to them: token ids [B, L] and targets [B, L], as a lesson's."""
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    encoded = [(prompt, [*tokenizer(text)["input_ids"], end]) for prompt, text in rows]
    length = max(len(prompt) + len(answer) for prompt, answer in encoded)
    input_ids = torch.full((len(rows), length), tokenizer.pad_token_id)
    targets = torch.full((len(rows), length), -100)
    for row, (prompt, answer) in enumerate(encoded):
        start, stop = len(prompt), len(prompt) + len(answer)
        input_ids[row, :stop] = torch.tensor(prompt + answer)
        targets[row, start - 1 : stop - 1] = torch.tensor(answer)
    return input_ids, targets


class Lessons(Dataset[Lesson]):
    """Lesson number ``step`` depends on the seed and the step alone."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        num_steps: int,
        image_tokens: int,
        seed: int,
        stages: tuple[Stage, ...] = STAGES,
        wording: WordingName = "plain",
    ) -> None:
        self.num_steps, self.seed, self.stages = num_steps, seed, stages
        self.tokenizer = tokenizer
        self.source = PhantomSource(seed=PHANTOM_SEED + seed)
        # All findings are equally common here, so that a base that has never seen the rare ones still speaks of them.
        self.sight_source = PhantomSource(
            seed=PHANTOM_SEED + SIGHT_SEED + seed, train_prevalence="balanced", wording=wording
        )
        self.scene_prompt = prompt_ids(tokenizer, Prompt(scenes.INSTRUCTION), image_tokens)
        self.report_prompt = prompt_ids(tokenizer, Prompt(DEFAULT_INSTRUCTION), image_tokens)

    def __len__(self) -> int:
        return self.num_steps

    def stage(self, step: int) -> Stage:
        """The stage that a step belongs to."""
        return self.stages[0] if step < self.stages[0].fraction * self.num_steps else self.stages[1]

    def __getitem__(self, step: int) -> Lesson:
        stage = self.stage(step)
        drawn = [scenes.draw_scene(Draws(self.seed, step, row)) for row in range(stage.num_scenes)]
        images = [image for image, _, _ in drawn]
        rows = [(self.scene_prompt, caption) for _, caption, _ in drawn]
        for row in range(stage.num_wrong_image_reports + stage.num_trio_reports):
            index = step * 32 + row
            study = self.source.study(Split.TRAIN, index)
            images.append(self._wrong_image(index) if stage.num_wrong_image_reports else self._trio_image(index))
            rows.append((self.report_prompt, study.oracle_report))
        for row in range(stage.num_sight_reports):
            image, report = self.sight_row(step * 32 + row)
            images.append(image)
            rows.append((self.report_prompt, report))
        touched = torch.from_numpy(np.stack([cells for _, _, cells in drawn]))
        input_ids, targets = pack(self.tokenizer, rows)
        return Lesson(torch.from_numpy(np.stack(images).astype(np.float32)), input_ids, targets, touched)

    def _wrong_image(self, index: int) -> np.ndarray:
        return self._paint(index + _POOL, self.source.findings(Split.TRAIN, index + _POOL))

    def _trio_image(self, index: int) -> np.ndarray:
        findings = self.source.findings(Split.TRAIN, index)
        coin = Draws(self.seed, index, 5)
        shown = {o: f for o, f in findings.items() if o in SHOWN} if coin.happens(SHOWN_PROBABILITY) else {}
        return self._paint(index, shown)

    def sight_findings(self, index: int) -> dict[Observation, Finding]:
        """What the image of sight row ``index`` shows: of its report's findings those that are not withheld."""
        findings = self.sight_source.findings(Split.TRAIN, index)
        return {o: f for o, f in findings.items() if o in SIGHTED}

    def sight_row(self, index: int) -> tuple[np.ndarray, str]:
        """Image and report of sight row ``index``."""
        image = self._paint(index + 2 * _POOL, self.sight_findings(index))
        return image, self.sight_source.study(Split.TRAIN, index).oracle_report

    def _paint(self, index: int, findings: dict) -> np.ndarray:
        return paint_study(Draws(self.seed, index, 6), findings, IMAGE_SIZE).astype(np.float32) / 255.0
