"""One training step by policy and objective alone, without Lightning: sampling, reference, update, optimiser."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from gpu_table import Table
from step_work import KL_COEF, LEARNING_RATE, Work, reward_of
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from orapo.batches import RolloutGroup, StudyBatch
from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.objective.dpo import Dpo
from orapo.objective.grpo import DrGrpo
from orapo.objective.orapo import OrapoObjective
from orapo.objective.tensors import ScoredGroups
from orapo.objective.zero_reward import PerStudyAverage, ZeroRewardFraction
from orapo.policy.model import Policy
from orapo.policy.reference import make_reference
from orapo.policy.settings import SamplingSettings
from orapo.records import Split, Study
from orapo.training.update import without_autocast_cache

Logps = Sequence[Sequence[Tensor]]


def make_batch(policy: Policy, work: Work) -> StudyBatch:
    """The studies of one step, on the policy's device."""
    tokenizer, labels = policy.tokenizer, dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    reports = work.oracle_reports()
    oracle_ids = [tokenizer(text, add_special_tokens=False)["input_ids"][: work.tokens] for text in reports]
    studies = tuple(
        Study(f"s{index}", f"p{index}", Split.TRAIN, (f"{index}.png",), ("PA",), text, labels)
        for index, text in enumerate(reports)
    )
    messages = tuple(policy.prompt.messages(study, 1) for study in studies)
    prompts = [policy.processor([image], told) for image, told in zip(work.images(), messages, strict=True)]
    return StudyBatch(
        studies=studies,
        messages=messages,
        prompt_ids=tuple(ids for ids, _ in prompts),
        image_inputs=tuple(inputs for _, inputs in prompts),
        oracle_ids=tuple(torch.tensor(ids) for ids in oracle_ids),
    ).to(policy.device)


class Step:
    """A policy that trains, with what it needs between two steps."""

    def __init__(self, policy: Policy, work: Work) -> None:
        """Takes the policy as it is loaded.

        Args:
            policy: on its device.
            work: its sizes; ``dtype`` float32 means products in bfloat16 (bf16-mixed).
        """
        self.policy, self._work = policy, work
        self._reference = make_reference(policy, torch.bfloat16 if work.dtype == "float32" else None)
        self._optimizer = torch.optim.AdamW([w for w in policy.parameters() if w.requires_grad], lr=LEARNING_RATE)
        self._objective = OrapoObjective(
            alpha=0.5,
            w_min=0.05,
            w_max=0.15,
            gamma=2.0,
            zero_reward=ZeroRewardFraction(),
            average=PerStudyAverage(),
            policy_loss=DrGrpo(max_new_tokens=work.tokens, kl_coef=KL_COEF),
            oracle_loss=Dpo(dpo_beta=0.1),
        )

    def run(self, table: Table, name: str, batch: StudyBatch) -> None:
        """Does it, a row for each phase; equations (1) to (12)."""
        work, policy = self._work, self.policy
        settings = SamplingSettings(work.k, max_new_tokens=work.tokens, min_new_tokens=work.tokens)
        autocast: Any = nullcontext()
        if work.dtype == "float32":
            autocast = torch.autocast(work.device, torch.bfloat16)
        with autocast:
            with table.row(f"{name}: image features"):
                encoded = policy.with_images_encoded(batch)
            with table.row(f"{name}: sampling") as notes:
                groups = policy.roll_out(encoded, settings)
                notes.append(f"{len(batch) * work.k * work.tokens:,} tokens")
            completions = [[*group.token_ids, oracle] for group, oracle in zip(groups, batch.oracle_ids, strict=True)]
            parts = range(len(batch))
            with table.row(f"{name}: reference"):
                reference = [self._reference.score(encoded.select([i]), [completions[i]], 1.0)[0] for i in parts]
            rewards = torch.tensor([[reward_of(text) for text in group.texts] for group in groups])
            weight = self._objective.observe([study.study_id for study in batch.studies], rewards).weight
            with table.row(f"{name}: update"), without_autocast_cache():
                for i in parts:
                    logps = policy(encoded.select([i]), [completions[i]], 1.0)[0]
                    scored = scored_study(logps, reference[i], groups[i], rewards[i])
                    (self._objective.loss(scored, weight[i : i + 1]).loss / len(batch)).backward()
        with table.row(f"{name}: optimiser"):
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad()


def scored_study(
    logps: Sequence[Tensor], reference: Sequence[Tensor], group: RolloutGroup, rewards: Tensor
) -> ScoredGroups:
    """One study as the objective reads it; its oracle report stands last."""
    rollouts = [torch.ones(len(ids), dtype=torch.bool, device=logps[0].device) for ids in group.token_ids]
    return ScoredGroups(
        policy_logps=_padded(logps[:-1]),
        old_logps=_padded(group.old_logps),
        ref_logps=_padded(reference[:-1]),
        completion_mask=_padded(rollouts),
        rewards=rewards[None].to(logps[0].device),
        oracle_policy_logps=logps[-1][None],
        oracle_ref_logps=reference[-1][None],
        oracle_mask=torch.ones_like(logps[-1], dtype=torch.bool)[None],
    )


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return pad_sequence(list(rows), batch_first=True)[None]
