"""Builds the arithmetic base policy from nothing: tokenizer, weights, config files.

    python tiny_base/arithmetic.py [--out DIR] [--threads N] [--steps N] [--seed N] [--quick]

It learns the worked sums of ``orapo.data.arithmetic`` from a careless teacher: sums of two or three numbers are right;
in longer ones a carry is forgotten in most of the steps that have one, and the solution goes on from there. So it can
add, writes fluent steps, and seldom gets a long sum right. Everything is seeded.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from architecture import MERGE, PATCH, TEMPORAL, build_image_processor
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from vocabulary import END_OF_TURN, IMAGE, PAD, build_tokenizer

from orapo.data.arithmetic import Arithmetic, solution
from orapo.data.collate import Collate, StudyWithImages
from orapo.policy.loading import load_policy
from orapo.policy.settings import ModelSettings, SamplingSettings
from orapo.records import Split
from orapo.reward.terms.answer import Answer

SHIPPED = Path(__file__).resolve().parents[1] / "src" / "orapo" / "policy" / "arithmetic"
TEACHER_SEED = 20_000
"""No default experiment draws its sums by it."""
CARELESS_FROM, FORGETS = 4, 0.8
"""Numbers of a sum from which on the teacher is careless, and the share of carries that it then forgets."""
_ANY = "QUESTION"
NUM_STEPS, BATCH, PEAK_RATE, WARMUP_STEPS = 1600, 48, 3e-3, 60
WIDTH = 96


def careless_solution(numbers: Sequence[int], generator: np.random.Generator) -> str:
    """Worked steps in which carries may be forgotten, 7+5=2, and what follows from there."""
    if len(numbers) < CARELESS_FROM:
        return solution(numbers)
    total, steps = numbers[0], []
    for number in numbers[1:]:
        found = total + number
        if total % 10 + number % 10 >= 10 and generator.random() < FORGETS:
            found -= 10
        steps.append(f"{total}+{number}={found}")
        total = found
    return "\n".join([*steps, f"Answer: {total}"])


def build_model(tokenizer: PreTrainedTokenizerBase) -> Qwen2_5_VLForConditionalGeneration:
    """Fresh weights; the vision tower is there for the architecture's sake and never learns."""
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (PAD, END_OF_TURN, IMAGE)}
    special = {"pad_token_id": ids[PAD], "bos_token_id": ids[PAD], "eos_token_id": ids[END_OF_TURN]}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 3 * WIDTH,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 4, 4]},
            "tie_word_embeddings": True,
            **special,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_heads": 1,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids[IMAGE],
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=True,
        **special,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=80, **special)
    return model


class Lessons:
    """Batches of questions with the teacher's solutions."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        self._tokenizer = tokenizer
        self._source = Arithmetic(seed=TEACHER_SEED + seed)
        self._generator = np.random.default_rng(seed)
        self._next = 0
        messages = [{"role": "user", "content": _ANY}]
        self._prompt = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Token ids and targets, both [size, L]; a target is -100 where nothing is taught."""
        indices = range(self._next, self._next + size)
        self._next += size
        asked = [self._source.study(Split.TRAIN, index).question for index in indices]
        prompts = self._ids([self._prompt.replace(_ANY, question.text) for question in asked if question])
        sums = [self._source.numbers(Split.TRAIN, index) for index in indices]
        told = self._ids([careless_solution(numbers, self._generator) for numbers in sums])
        rows, targets = [], []
        for prompt, text in zip(prompts, told, strict=True):
            rows.append(torch.tensor([*prompt, *text]))
            targets.append(torch.tensor([*([-100] * (len(prompt) - 1)), *text, self._tokenizer.eos_token_id]))
        pad = torch.nn.utils.rnn.pad_sequence
        return pad(rows, batch_first=True), pad(targets, batch_first=True, padding_value=-100)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(texts)["input_ids"]
        return ids


def hidden_states(model: Qwen2_5_VLForConditionalGeneration, input_ids: Tensor) -> Tensor:
    """[B, L, width] of rows without images, padded on the right."""
    positions = torch.arange(input_ids.shape[1]).expand(3, len(input_ids), -1)
    embeddings = model.get_input_embeddings()(input_ids)
    states: Tensor = model.model.language_model(
        inputs_embeds=embeddings, position_ids=positions, use_cache=False
    ).last_hidden_state
    return states


def build(folder: Path, num_steps: int, seed: int) -> None:
    """Trains fresh weights and writes the folder: half precision, to be read in single precision."""
    torch.manual_seed(seed)
    source = Arithmetic(seed=TEACHER_SEED)
    words = [source.study(Split.TRAIN, index).oracle_report for index in range(200)]
    tokenizer = build_tokenizer([*words, "user", "assistant", "system", "\n", "\n\n", "\nAnswer: 7"])
    model = build_model(tokenizer).train()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    lessons = Lessons(tokenizer, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 0.02, total_iters=min(WARMUP_STEPS, max(1, num_steps // 10)))
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps, eta_min=PEAK_RATE * 0.02)
    start, average = time.process_time(), 0.0
    for step in range(num_steps):
        input_ids, targets = lessons.batch(BATCH)
        is_taught = targets >= 0
        logits = model.lm_head(hidden_states(model, input_ids)[is_taught])
        loss = F.cross_entropy(logits, targets[is_taught])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        (rise if step < rise.total_iters else fall).step()
        average = 0.95 * average + 0.05 * float(loss.detach()) if step else float(loss.detach())
        if (step + 1) % 50 == 0 or step + 1 == num_steps:
            print(f"step {step + 1}/{num_steps}: loss {average:.4f} {time.process_time() - start:.0f} s", flush=True)
        if (step + 1) % 500 == 0 or step + 1 == num_steps:
            write_folder(model, tokenizer, folder)


def write_folder(model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes what ``from_pretrained`` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    weights = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    build_image_processor().save_pretrained(folder)


def probe(folder: str, num_questions: int = 60, samples: int = 8) -> str:
    """By numbers in a sum: accuracy of greedy and sampled solutions, and groups of samples without a right one."""
    torch.manual_seed(0)  # the same samples, whether a build went before or not
    policy = load_policy(ModelSettings(path=folder, instruction=""))
    collate = Collate(policy.processor, policy.prompt, None)
    told = []
    for count in range(2, 7):
        source = Arithmetic(seed=TEACHER_SEED - 1, least_numbers=count, most_numbers=count)
        studies = [source.study(Split.TEST, index) for index in range(num_questions)]
        batch = collate([StudyWithImages(study, ()) for study in studies])
        right = []
        for settings in (SamplingSettings(greedy=True), SamplingSettings(per_study=samples)):
            groups = policy.roll_out(batch, replace(settings, max_new_tokens=64))
            pairs = zip(groups, studies, strict=True)
            right.append([[Answer().value(text, study) or 0.0 for text in group.texts] for group, study in pairs])
        greedy, sampled = (np.array(one) for one in right)
        told.append(
            f"{count} numbers: greedy {greedy.mean():.2f}, sampled {sampled.mean():.2f}, "
            f"all {samples} wrong {(sampled.max(axis=1) == 0).mean():.2f}"
        )
    return "\n".join(told)


def main() -> None:
    """Reads the command line, builds, measures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder to write (default: the shipped one)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--steps", type=int, default=NUM_STEPS, help=f"optimiser steps (default: {NUM_STEPS})")
    parser.add_argument("--seed", type=int, default=0, help="of weights and lessons")
    parser.add_argument("--quick", action="store_true", help="few steps and questions: shows that the script works")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    build(arguments.out, 4 if arguments.quick else arguments.steps, arguments.seed)
    print(probe(str(arguments.out), num_questions=2 if arguments.quick else 60))


if __name__ == "__main__":
    main()
