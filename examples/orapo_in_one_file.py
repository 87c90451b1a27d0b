"""OraPO in one file: the whole method on the embedded policy and drawn radiographs, without Hydra and Lightning.

    python examples/orapo_in_one_file.py --seed 0      # a minute or two on a CPU; the reward rises

The numbers in parentheses are the equations of docs/method.md. The framework computes the same: losses, gradients and
weights agree in tests/integration/test_one_file_example.py. It also shares the prompt among a study's rollouts, splits
batches, uses several processes and resumes; here, every rollout repeats its image and prompt, because that is short.
"""

import argparse
import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging

from orapo.batches import StudyBatch
from orapo.data.balanced_subset import BalancedSubset
from orapo.data.collate import Collate
from orapo.data.phantoms.source import PhantomSource
from orapo.policy.processor import StudyProcessor
from orapo.prompt import DEFAULT_INSTRUCTION, Prompt
from orapo.records import Split
from orapo.reward.fact_score import FactScoreReward

EMBEDDED_POLICY = str(files("orapo") / "policy" / "tiny")


@dataclass(frozen=True)
class Settings:
    """The paper's alpha, w and gamma; few studies, seen often, so that a minute shows a rise."""

    num_studies: int = 16  # in the balanced training subset
    batch_size: int = 8  # B, studies a step
    per_study: int = 4  # K, rollouts of each
    max_new_tokens: int = 48
    inner_steps: int = 1  # optimiser steps on each batch of rollouts
    learning_rate: float = 1e-3
    warmup_steps: int = 5
    max_grad_norm: float = 1.0
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_coef: float = 0.0
    dpo_beta: float = 2.0
    alpha: float = 0.5
    w_min: float = 0.05
    w_max: float = 0.15
    gamma: float = 2.0
    f_beta: float = 2.0


@dataclass(frozen=True)
class Completions:
    """Reports as tokens.

    Attributes:
        ids: [B, N, T], int64, N reports of each study, padded on the right.
        mask: [B, N, T], bool: the end token counts, padding does not.
    """

    ids: Tensor
    mask: Tensor


def padded(reports: list[list[Tensor]], padding_id: int) -> Completions:
    """Completions from B lists of N reports, each a tensor [T] of its own length."""
    flat = [ids for study in reports for ids in study]
    ids = torch.nn.utils.rnn.pad_sequence(flat, batch_first=True, padding_value=padding_id)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(one) for one in flat])[:, None]
    shape = (len(reports), -1, ids.shape[1])
    return Completions(ids.view(shape), mask.view(shape))


# ---- the policy: what it samples, and the log-probability of what it is given


def repeated_prompts(model: Qwen2_5_VLForConditionalGeneration, batch: StudyBatch, times: int) -> dict[str, Tensor]:
    """The model's inputs [B * times, P], study by study; phantoms have one image each, and prompts of one length."""
    ids = torch.stack(batch.prompt_ids).repeat_interleave(times, dim=0)
    pixels = torch.stack([inputs["pixel_values"] for inputs in batch.image_inputs])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == model.config.image_token_id).int(),
        "pixel_values": pixels.repeat_interleave(times, dim=0).flatten(0, 1),
        "image_grid_thw": batch.joined("image_grid_thw").repeat_interleave(times, dim=0),
    }


@torch.no_grad()
def sample(model: Qwen2_5_VLForConditionalGeneration, batch: StudyBatch, settings: Settings) -> list[list[Tensor]]:
    """K reports of each study, drawn at temperature 1: B lists of K tensors [T], the end token included."""
    stop = model.generation_config.eos_token_id
    prompts = repeated_prompts(model, batch, settings.per_study)
    special = [i for i in range(stop, model.config.text_config.vocab_size) if i != stop]  # they stand last
    drawn = model.generate(
        **prompts,
        do_sample=True,
        top_k=0,
        min_new_tokens=1,
        max_new_tokens=settings.max_new_tokens,
        suppress_tokens=special,
    )[:, prompts["input_ids"].shape[1] :]
    lengths = ((drawn == stop).cumsum(dim=1) == 0).sum(dim=1) + 1
    reports = [ids[:length] for ids, length in zip(drawn, lengths.tolist(), strict=True)]
    return [reports[i : i + settings.per_study] for i in range(0, len(reports), settings.per_study)]


def token_logps(model: Qwen2_5_VLForConditionalGeneration, batch: StudyBatch, given: Completions) -> Tensor:
    """Log pi(y_t | x, y_<t) of every token of the completions, [B, N, T]; what stands at padding has no meaning."""
    ids, mask = given.ids.flatten(0, 1), given.mask.flatten(0, 1)
    inputs = repeated_prompts(model, batch, given.ids.shape[1])
    for name, right in (("input_ids", ids), ("attention_mask", mask), ("mm_token_type_ids", torch.zeros_like(ids))):
        inputs[name] = torch.cat([inputs[name], right.to(inputs[name])], dim=1)
    # The token at t is predicted one place before it.
    logits = model(**inputs, logits_to_keep=ids.shape[1] + 1).logits[:, :-1]
    return logits.log_softmax(dim=-1).gather(2, ids[:, :, None]).view_as(given.ids)


# ---- the losses of each study


def policy_losses(logps: Tensor, old: Tensor, ref: Tensor, mask: Tensor, rewards: Tensor, settings: Settings) -> Tensor:
    """Equations (1)-(4) as Dr.GRPO has them, [B], from log-probabilities [B, K, T] and rewards [B, K]."""
    advantage = (rewards - rewards.mean(dim=1, keepdim=True))[:, :, None]  # (1), (2)
    ratio = (logps - old).exp()  # (3)
    clipped = ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)
    kl = (ref - logps).exp() - (ref - logps) - 1
    gain = torch.minimum(ratio * advantage, clipped * advantage) - settings.kl_coef * kl
    constant = logps.shape[1] * settings.max_new_tokens
    return -gain.masked_fill(~mask, 0).sum(dim=(1, 2)) / constant  # (4)


def oracle_losses(logps: Tensor, ref: Tensor, mask: Tensor, settings: Settings) -> Tensor:
    """Equations (5)-(7), [B]: each study's last completion, the oracle report, is preferred to all others (12)."""
    h = (logps - ref).masked_fill(~mask, 0).sum(dim=2) / mask.sum(dim=2)  # (5), (6), per token
    return -logsigmoid(settings.dpo_beta * (h[:, -1:] - h[:, :-1])).mean(dim=1)  # (7)


class OraPO:
    """Policy, reference, reward, optimiser, and the zero-reward rate of every study so far."""

    def __init__(self, settings: Settings) -> None:
        """Loads the embedded policy by transformers' own classes; the reference is its frozen copy."""
        self.settings = settings
        self.processor = StudyProcessor.from_pretrained(EMBEDDED_POLICY, "qwen2_5_vl")
        self.policy = Qwen2_5_VLForConditionalGeneration.from_pretrained(EMBEDDED_POLICY, dtype=torch.float32)
        self.reference = copy.deepcopy(self.policy).requires_grad_(False)
        self.reward = FactScoreReward(f_beta=settings.f_beta, uncertain_is_positive=False)
        self.optimizer = torch.optim.AdamW(
            self.policy.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min(1.0, (step + 1) / settings.warmup_steps)
        )
        self.smoothed_rate: dict[str, float] = {}

    def judge(self, batch: StudyBatch, rollouts: list[list[Tensor]]) -> Tensor:
        """Equations (13)-(15): the F-beta of each report's facts against its study's labels, [B, K] in [0, 1]."""
        flat = [ids for study in rollouts for ids in study]
        reports = [self.processor.tokenizer.decode(ids, skip_special_tokens=True) for ids in flat]
        labels = [study.labels for study, group in zip(batch.studies, rollouts, strict=True) for _ in group]
        judged = self.reward.start(reports, labels).result()
        return torch.tensor([breakdown.total for breakdown in judged]).view(len(batch), -1)

    def mix(self, batch: StudyBatch, rewards: Tensor) -> Tensor:
        """Equations (8)-(10): the oracle's share w of each study, [B], from all its rewards so far."""
        settings = self.settings
        rates = (rewards == 0).float().mean(dim=1).tolist()  # (8)
        for study, rate in zip(batch.studies, rates, strict=True):
            before = self.smoothed_rate.get(study.study_id, rate)
            self.smoothed_rate[study.study_id] = settings.alpha * before + (1 - settings.alpha) * rate  # (9)
        smoothed = torch.tensor([self.smoothed_rate[study.study_id] for study in batch.studies])
        weight = settings.w_min + (settings.w_max - settings.w_min) * smoothed**settings.gamma
        return weight.clamp(settings.w_min, settings.w_max)  # (10)

    def update(self, batch: StudyBatch, rollouts: list[list[Tensor]], rewards: Tensor) -> list[dict[str, float]]:
        """Equation (11) and the optimiser, ``inner_steps`` times; the losses of each, means over the batch."""
        weight = self.mix(batch, rewards)
        with_oracle = [[*group, oracle] for group, oracle in zip(rollouts, batch.oracle_ids, strict=True)]
        completions = padded(with_oracle, self.processor.tokenizer.pad_token_id)
        with torch.no_grad():
            ref = token_logps(self.reference, batch, completions)
        old, losses = None, []
        for _ in range(self.settings.inner_steps):
            logps = token_logps(self.policy, batch, completions)
            old = logps.detach() if old is None else old  # the policy that sampled is that of the first step
            mask = completions.mask
            groups = [tensor[:, :-1] for tensor in (logps, old, ref, mask)]
            policy_loss = policy_losses(*groups, rewards, self.settings)
            oracle_loss = oracle_losses(logps, ref, mask, self.settings)
            loss = ((1 - weight) * policy_loss + weight * oracle_loss).mean()  # (11)
            loss.backward()
            self.step()
            parts = {"loss": loss, "policy_loss": policy_loss, "oracle_loss": oracle_loss, "weight": weight}
            losses.append({name: value.mean().item() for name, value in parts.items()})
        return losses

    def step(self) -> None:
        """Moves the weights by the clipped gradient."""
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()


def batches(source: PhantomSource, collate: Collate, settings: Settings, seed: int) -> Iterator[StudyBatch]:
    """Batches of the balanced subset without end, in a new random order each pass."""
    subset = BalancedSubset(settings.num_studies, seed).choose(source.entries(Split.TRAIN))
    studies = [source.read(study_id) for study_id in subset.study_ids]
    order: list[int] = []
    while True:
        if len(order) < settings.batch_size:
            order += torch.randperm(len(studies)).tolist()
        chosen, order = [studies[i] for i in order[: settings.batch_size]], order[settings.batch_size :]
        yield collate([(study, source.load_images(study)) for study in chosen])


def main() -> None:
    """Algorithm 1, with a line of progress for each five steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="training steps, at least 1")
    parser.add_argument("--seed", type=int, default=0, help="of the subset, its order and the sampled reports")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    torch.manual_seed(arguments.seed)
    settings, start = Settings(), time.perf_counter()
    orapo = OraPO(settings)
    collate = Collate(orapo.processor, Prompt(DEFAULT_INSTRUCTION), settings.max_new_tokens)
    history: list[float] = []
    stream = batches(PhantomSource(num_train=4000), collate, settings, arguments.seed)
    for number, batch in zip(range(1, arguments.steps + 1), stream, strict=False):
        rollouts = sample(orapo.policy, batch, settings)
        rewards = orapo.judge(batch, rollouts)
        losses = orapo.update(batch, rollouts, rewards)[-1]
        history.append(rewards.mean().item())
        if number % 5 == 0 or number == arguments.steps:
            mean = sum(history[-5:]) / len(history[-5:])
            told = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            print(f"step {number:4}  reward {mean:.3f}  {told}  {time.perf_counter() - start:5.0f} s", flush=True)


if __name__ == "__main__":
    main()
