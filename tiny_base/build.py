"""Builds the embedded base policy from nothing: tokenizer, weights, config files.

    python tiny_base/build.py [--sighted | --followup | --rich] [--width N] [--out DIR] [--threads N] [--steps N]
        [--seed N] [--quick]

``--sighted`` goes on from the shipped base with the third stage and writes the sighted base beside it; with another
``--width`` it teaches all three. From the sighted base ``--followup`` goes on with pairs of films, and ``--rich`` with
reports of the rich wording. Everything is seeded; the same machine and thread count give the same folder. ``--quick``
only shows that it runs.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import scenes
import torch
import torch.nn.functional as F
from architecture import (
    IMAGE_SIZE,
    IMAGE_TOKENS,
    TOKENS_PER_SIDE,
    WIDTH,
    FastPasses,
    build_image_processor,
    build_model,
    patchify,
)
from followup_lessons import CONTEXTS, FollowupLessons
from lessons import PHANTOM_SEED, SIGHT_STAGES, STAGES, Lesson, Lessons
from probes import probe, sentences
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2_5_VLForConditionalGeneration
from vocabulary import IMAGE, build_tokenizer

from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.rich import WordingName
from orapo.prompt import DEFAULT_INSTRUCTION, Prompt
from orapo.records import Split

POLICIES = Path(__file__).resolve().parents[1] / "src" / "orapo" / "policy"
SHIPPED, SIGHTED_BASE = POLICIES / "tiny", POLICIES / "sighted"
FOLLOWUP_BASE, RICH_BASE = POLICIES / "followup", POLICIES / "rich"
PEAK_RATE, SIGHT_PEAK_RATE, WARMUP_STEPS, CELL_WEIGHT = 1.5e-3, 8e-4, 60, 4.0
NUM_STEPS, SIGHT_NUM_STEPS, FOLLOWUP_NUM_STEPS, RICH_NUM_STEPS = 2000, 400, 700, 500
DIFFERENCE_LAYER, DIFFERENCE_SCALE = 1, 10.0
"""The layer after which a token must know how its cell has changed, and what brings such differences to about 1."""


def grammar_tokenizer(*, followup: bool = False, wording: WordingName = "plain") -> PreTrainedTokenizerBase:
    """A tokenizer that knows every word of reports, captions and prompts."""
    sources = [
        PhantomSource(seed=PHANTOM_SEED, num_train=8000, train_prevalence=prevalence, followup=before, wording=wording)
        for before in ((False, True) if followup else (False,))
        for prevalence in ("balanced", "natural")
    ]
    studies = [study for source in sources for study in source.studies(Split.TRAIN)]
    sentence_set = sorted(set(sentences(study.oracle_report for study in studies)))
    instructions = [scenes.INSTRUCTION, DEFAULT_INSTRUCTION, "user", "assistant", "system", "\n", "\n\n"]
    if followup:
        prompt = Prompt(DEFAULT_INSTRUCTION, tuple(sorted({element for context in CONTEXTS for element in context})))
        told = [
            line
            for study in studies
            for line in prompt.context_lines(study.context, 1, study.context.prior is not None)
        ]
        sentence_set = sorted({*sentence_set, *told})
    # Each sentence once at the start of a text and once inside it, where its first word follows a space.
    return build_tokenizer([*sentence_set, *(f" {s}" for s in sentence_set), f" {scenes.all_words()}", *instructions])


class Teacher:
    """The model with its optimiser and two throw-away heads.

    One names the shapes in every token of an image. The other tells of every token of a second image, from the language
    model's states, how the first differs there: what compares two films has to find the same place on both.
    """

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        num_steps: int,
        peak_rate: float,
    ) -> None:
        self.model = model.train()
        width = model.config.text_config.hidden_size
        self.cell_head = nn.Linear(width, len(scenes.NAMES))
        self.difference_head = nn.Linear(width, IMAGE_TOKENS)
        prompt = Lessons(tokenizer, 1, IMAGE_TOKENS, 0).report_prompt
        self.passes = FastPasses(self.model, prompt.index(tokenizer.convert_tokens_to_ids(IMAGE)))
        heads = (self.cell_head, self.difference_head)
        weights = [*self.model.parameters(), *(weight for head in heads for weight in head.parameters())]
        self.optimizer = torch.optim.AdamW(weights, lr=peak_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        warmup = min(WARMUP_STEPS, max(1, num_steps // 10))
        rise = torch.optim.lr_scheduler.LinearLR(self.optimizer, 0.02, total_iters=warmup)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, num_steps - warmup, eta_min=peak_rate * 0.02)
        self.schedule = torch.optim.lr_scheduler.SequentialLR(self.optimizer, [rise, fall], [warmup])

    def losses(self, lesson: Lesson) -> tuple[Tensor, Tensor, Tensor]:
        """Next-token loss, mean over taught tokens; shapes-per-cell loss; loss of the differences, 0 with one image."""
        features = self.passes.image_features(patchify(lesson.images))
        by_row = features.unflatten(0, (-1, lesson.num_images))
        states = self.passes.hidden_states(lesson.input_ids, by_row)
        taught = lesson.targets >= 0
        words = F.cross_entropy(self.model.lm_head(states[-1][taught]), lesson.targets[taught])
        guesses = self.cell_head(features[: len(lesson.touched)])
        cells = F.binary_cross_entropy_with_logits(guesses, lesson.touched)
        return words, cells, self._difference_loss(lesson, states[DIFFERENCE_LAYER])

    def _difference_loss(self, lesson: Lesson, states: Tensor) -> Tensor:
        if lesson.num_images == 1:
            return torch.zeros(())
        start = self.passes.start_of(1)
        guesses = self.difference_head(states[:, start : start + IMAGE_TOKENS])
        side = TOKENS_PER_SIDE
        blurred = F.avg_pool2d(lesson.images[:, None], IMAGE_SIZE // side**2).view(-1, 2, side, side, side, side)
        first, second = blurred.transpose(3, 4).reshape(-1, 2, IMAGE_TOKENS, IMAGE_TOKENS).unbind(1)
        return F.mse_loss(guesses, DIFFERENCE_SCALE * (first - second))

    def learn(self, lesson: Lesson) -> tuple[float, float, float]:
        """One optimiser step; returns the losses."""
        words, cells, difference = self.losses(lesson)
        (words + CELL_WEIGHT * cells + difference).backward()
        nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        return float(words.detach()), float(cells.detach()), float(difference.detach())


def write_folder(teacher: Teacher, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes what ``from_pretrained`` reads; weights in half precision, to be read in single precision."""
    folder.mkdir(parents=True, exist_ok=True)
    teacher.model.save_pretrained(folder)
    weights = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    build_image_processor().save_pretrained(folder)


def build(folder: Path, num_steps: int, seed: int, width: int = WIDTH) -> None:
    """Trains fresh weights through the first two stages and writes the folder."""
    torch.manual_seed(seed)
    tokenizer = grammar_tokenizer()
    teacher = Teacher(build_model(tokenizer, width), tokenizer, num_steps, PEAK_RATE)
    print(f"{sum(p.numel() for p in teacher.model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    teach(teacher, tokenizer, Lessons(tokenizer, num_steps, IMAGE_TOKENS, seed, STAGES), folder)


def build_sighted(folder: Path, num_steps: int, seed: int, start: Path = SHIPPED) -> None:
    """Trains a base that has been through the first two stages through the third and writes the folder."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(start)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
    teacher = Teacher(model, tokenizer, num_steps, SIGHT_PEAK_RATE)
    teach(teacher, tokenizer, Lessons(tokenizer, num_steps, IMAGE_TOKENS, seed, SIGHT_STAGES), folder)


def build_followup(folder: Path, num_steps: int, seed: int) -> None:
    """Gives the sighted base the words of follow-up studies, trains it on pairs of films and writes the folder."""
    torch.manual_seed(seed)
    tokenizer = grammar_tokenizer(followup=True)
    teacher = Teacher(sighted_model(tokenizer), tokenizer, num_steps, SIGHT_PEAK_RATE)
    teach(teacher, tokenizer, FollowupLessons(tokenizer, num_steps, IMAGE_TOKENS, seed), folder)


def build_rich(folder: Path, num_steps: int, seed: int) -> None:
    """Gives the sighted base the words of rich reports, trains it as in the third stage and writes the folder."""
    torch.manual_seed(seed)
    tokenizer = grammar_tokenizer(wording="rich")
    teacher = Teacher(sighted_model(tokenizer), tokenizer, num_steps, SIGHT_PEAK_RATE)
    teach(teacher, tokenizer, Lessons(tokenizer, num_steps, IMAGE_TOKENS, seed, SIGHT_STAGES, "rich"), folder)


def sighted_model(tokenizer: PreTrainedTokenizerBase) -> Qwen2_5_VLForConditionalGeneration:
    """The sighted base with another vocabulary: words that it knows keep their embeddings, new ones get fresh ones."""
    known = AutoTokenizer.from_pretrained(SIGHTED_BASE)
    sighted = Qwen2_5_VLForConditionalGeneration.from_pretrained(SIGHTED_BASE, dtype=torch.float32)
    model = build_model(tokenizer)
    weights = {name: value for name, value in sighted.state_dict().items() if not _by_word(name)}
    unread = model.load_state_dict(weights, strict=False)
    assert all(map(_by_word, unread.missing_keys)), unread
    assert not unread.unexpected_keys, unread
    new, old = model.get_input_embeddings().weight.data, sighted.get_input_embeddings().weight.data
    for token, place in tokenizer.get_vocab().items():
        if (before := known.get_vocab().get(token)) is not None:
            new[place] = old[before]
    return model


def _by_word(name: str) -> bool:
    return name.endswith(("embed_tokens.weight", "lm_head.weight"))


def teach(
    teacher: Teacher, tokenizer: PreTrainedTokenizerBase, lessons: Lessons | FollowupLessons, folder: Path
) -> None:
    """Goes through all lessons and writes the folder."""
    num_steps = len(lessons)
    start, averages = time.monotonic(), [0.0, 0.0, 0.0]
    for step, lesson in enumerate(DataLoader(lessons, batch_size=None, num_workers=1, prefetch_factor=4)):
        losses = teacher.learn(lesson)
        averages = [0.95 * a + 0.05 * b if step else b for a, b in zip(averages, losses, strict=True)]
        if (step + 1) % 25 == 0 or step + 1 == num_steps:
            seconds = time.monotonic() - start
            print(
                f"step {step + 1}/{num_steps}: words {averages[0]:.3f} cells {averages[1]:.4f} "
                f"differences {averages[2]:.3f} {seconds:.0f} s",
                flush=True,
            )
        # An interrupted build leaves a base that at least runs.
        if (step + 1) % 200 == 0 or step + 1 == num_steps:
            write_folder(teacher, tokenizer, folder)


def main() -> None:
    """Reads the command line, builds, measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    stage = parser.add_mutually_exclusive_group()
    stage.add_argument("--sighted", action="store_true", help="third stage, from the shipped base")
    stage.add_argument("--followup", action="store_true", help="pairs of films, from the sighted base")
    parser.add_argument(
        "--width",
        type=int,
        choices=range(64, 513, 64),
        default=WIDTH,
        metavar="N",
        help=f"hidden size, 64 to 512 in steps of 64 (default: {WIDTH}); others need --out",
    )
    parser.add_argument("--out", type=Path, help="folder to write (default: the shipped one)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; more than idle cores slow it down")
    stage.add_argument("--rich", action="store_true", help="reports of the rich wording, from the sighted base")
    numbers = f"{NUM_STEPS}, third stage {SIGHT_NUM_STEPS}, films {FOLLOWUP_NUM_STEPS}, rich {RICH_NUM_STEPS}"
    parser.add_argument("--steps", type=int, help=f"optimiser steps (default: {numbers})")
    parser.add_argument("--seed", type=int, default=0, help="of weights and lessons")
    parser.add_argument("--quick", action="store_true", help="few steps: shows that the script works")
    arguments = parser.parse_args()
    if arguments.width != WIDTH and (arguments.followup or arguments.rich or not arguments.out):
        parser.error(
            f"--width {arguments.width} goes with --out DIR and neither --followup nor --rich; "
            f"only {WIDTH} has a place of its own"
        )
    torch.set_num_threads(arguments.threads)
    make, shipped, num_steps = partial(build, width=arguments.width), SHIPPED, NUM_STEPS
    if arguments.sighted:
        make, shipped, num_steps = build_sighted, SIGHTED_BASE, SIGHT_NUM_STEPS
    if arguments.followup:
        make, shipped, num_steps = build_followup, FOLLOWUP_BASE, FOLLOWUP_NUM_STEPS
    if arguments.rich:
        make, shipped, num_steps = build_rich, RICH_BASE, RICH_NUM_STEPS
    folder, given = arguments.out or shipped, 6 if arguments.quick else arguments.steps
    with tempfile.TemporaryDirectory() as first:
        if arguments.sighted and arguments.width != WIDTH:
            build(Path(first), given or NUM_STEPS, arguments.seed, arguments.width)
            make = partial(build_sighted, start=Path(first))
        make(folder, given or num_steps, arguments.seed)
    wording: WordingName = "rich" if arguments.rich else "plain"
    for name, value in probe(str(folder), 14 if arguments.quick else 210, wording).items():
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")


if __name__ == "__main__":
    main()
