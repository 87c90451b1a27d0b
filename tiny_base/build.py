"""Builds the embedded base policy from nothing: tokenizer, weights, config files.

    python tiny_base/build.py [--sighted] [--out DIR] [--threads N] [--steps N] [--seed N] [--quick]

``--sighted`` goes on from the shipped base with the third stage and writes the sighted base beside it. Everything is
seeded; the same machine and thread count give the same folder. ``--quick`` only shows that it runs.
"""

import argparse
import time
from pathlib import Path

import scenes
import torch
import torch.nn.functional as F
from architecture import IMAGE_TOKENS, WIDTH, FastPasses, build_image_processor, build_model, patchify
from lessons import PHANTOM_SEED, SIGHT_STAGES, STAGES, Lesson, Lessons
from probes import probe, sentences
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2_5_VLForConditionalGeneration
from vocabulary import IMAGE, build_tokenizer

from orapo.data.phantoms import PhantomSource
from orapo.prompt import DEFAULT_INSTRUCTION
from orapo.records import Split

POLICIES = Path(__file__).resolve().parents[1] / "src" / "orapo" / "policy"
SHIPPED, SIGHTED_BASE = POLICIES / "tiny", POLICIES / "sighted"
PEAK_RATE, SIGHT_PEAK_RATE, WARMUP_STEPS, CELL_WEIGHT = 1.5e-3, 8e-4, 60, 4.0
NUM_STEPS, SIGHT_NUM_STEPS = 2000, 400


def grammar_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer that knows every word of reports, captions and prompts."""
    sources = (PhantomSource(seed=PHANTOM_SEED, num_train=8000, train_prevalence=p) for p in ("balanced", "natural"))
    reports = [study.oracle_report for source in sources for study in source.studies(Split.TRAIN)]
    sentence_set = sorted(set(sentences(reports)))
    instructions = [scenes.INSTRUCTION, DEFAULT_INSTRUCTION, "user", "assistant", "system", "\n", "\n\n"]
    # Each sentence once at the start of a text and once inside it, where its first word follows a space.
    return build_tokenizer([*sentence_set, *(f" {s}" for s in sentence_set), f" {scenes.all_words()}", *instructions])


class Teacher:
    """The model with its optimiser and the throw-away head that names the shapes in every image token."""

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        num_steps: int,
        peak_rate: float,
    ) -> None:
        self.model = model.train()
        self.cell_head = nn.Linear(WIDTH, len(scenes.NAMES))
        prompt = Lessons(tokenizer, 1, IMAGE_TOKENS, 0).report_prompt
        self.passes = FastPasses(self.model, prompt.index(tokenizer.convert_tokens_to_ids(IMAGE)))
        weights = [*self.model.parameters(), *self.cell_head.parameters()]
        self.optimizer = torch.optim.AdamW(weights, lr=peak_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        warmup = min(WARMUP_STEPS, max(1, num_steps // 10))
        rise = torch.optim.lr_scheduler.LinearLR(self.optimizer, 0.02, total_iters=warmup)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, num_steps - warmup, eta_min=peak_rate * 0.02)
        self.schedule = torch.optim.lr_scheduler.SequentialLR(self.optimizer, [rise, fall], [warmup])

    def losses(self, lesson: Lesson) -> tuple[Tensor, Tensor]:
        """(next-token loss, mean over taught tokens; shapes-per-cell loss, mean over cells and shapes)."""
        features = self.passes.image_features(patchify(lesson.images))
        hidden = self.passes.hidden_states(lesson.input_ids, features)
        taught = lesson.targets >= 0
        words = F.cross_entropy(self.model.lm_head(hidden[taught]), lesson.targets[taught])
        guesses = self.cell_head(features[: len(lesson.touched)])
        return words, F.binary_cross_entropy_with_logits(guesses, lesson.touched)

    def learn(self, lesson: Lesson) -> tuple[float, float]:
        """One optimiser step; returns both losses."""
        words, cells = self.losses(lesson)
        (words + CELL_WEIGHT * cells).backward()
        nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        return float(words.detach()), float(cells.detach())


def write_folder(teacher: Teacher, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes what ``from_pretrained`` reads; weights in half precision, to be read in single precision."""
    folder.mkdir(parents=True, exist_ok=True)
    teacher.model.save_pretrained(folder)
    weights = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    build_image_processor().save_pretrained(folder)


def build(folder: Path, num_steps: int, seed: int) -> None:
    """Trains fresh weights through the first two stages and writes the folder."""
    torch.manual_seed(seed)
    tokenizer = grammar_tokenizer()
    teacher = Teacher(build_model(tokenizer), tokenizer, num_steps, PEAK_RATE)
    print(f"{sum(p.numel() for p in teacher.model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    teach(teacher, tokenizer, Lessons(tokenizer, num_steps, IMAGE_TOKENS, seed, STAGES), folder)


def build_sighted(folder: Path, num_steps: int, seed: int) -> None:
    """Trains the shipped base through the third stage and writes the folder."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(SHIPPED, dtype=torch.float32)
    teacher = Teacher(model, tokenizer, num_steps, SIGHT_PEAK_RATE)
    teach(teacher, tokenizer, Lessons(tokenizer, num_steps, IMAGE_TOKENS, seed, SIGHT_STAGES), folder)


def teach(teacher: Teacher, tokenizer: PreTrainedTokenizerBase, lessons: Lessons, folder: Path) -> None:
    """Goes through all lessons and writes the folder."""
    num_steps = len(lessons)
    start, averages = time.monotonic(), [0.0, 0.0]
    for step, lesson in enumerate(DataLoader(lessons, batch_size=None, num_workers=1, prefetch_factor=4)):
        losses = teacher.learn(lesson)
        averages = [0.95 * a + 0.05 * b if step else b for a, b in zip(averages, losses, strict=True)]
        if (step + 1) % 25 == 0 or step + 1 == num_steps:
            seconds = time.monotonic() - start
            print(
                f"step {step + 1}/{num_steps} {lessons.stage(step).name}: words {averages[0]:.3f} "
                f"cells {averages[1]:.4f} {seconds:.0f} s",
                flush=True,
            )
        # An interrupted build leaves a base that at least runs.
        if (step + 1) % 200 == 0 or step + 1 == num_steps:
            write_folder(teacher, tokenizer, folder)


def main() -> None:
    """Reads the command line, builds, measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sighted", action="store_true", help="third stage, from the shipped base")
    parser.add_argument("--out", type=Path, help="folder to write (default: the shipped one)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; more than idle cores slow it down")
    parser.add_argument(
        "--steps", type=int, help=f"optimiser steps (default: {NUM_STEPS}, third stage {SIGHT_NUM_STEPS})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and lessons")
    parser.add_argument("--quick", action="store_true", help="few steps: shows that the script works")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sighted = arguments.sighted
    folder = arguments.out or (SIGHTED_BASE if sighted else SHIPPED)
    num_steps = 6 if arguments.quick else arguments.steps or (SIGHT_NUM_STEPS if sighted else NUM_STEPS)
    (build_sighted if sighted else build)(folder, num_steps, arguments.seed)
    for name, value in probe(str(folder), num_studies=14 if arguments.quick else 210).items():
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")


if __name__ == "__main__":
    main()
