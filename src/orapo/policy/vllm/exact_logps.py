"""The log-probabilities that training starts from, and their difference from the server's.

The server computes in other kernels, batches and often another precision than the policy. Scored once more by the
policy, the ratio of the first update is exactly 1, as with rollouts sampled here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orapo.batches import RolloutGroup, StudyBatch
from orapo.errors import RunPaused
from orapo.policy.model import Policy
from orapo.policy.reference import score_frozen
from orapo.policy.scoring import CompletionLogps
from orapo.policy.vllm.settings import ServerSettings


@dataclass(frozen=True)
class ExactLogps:
    """Replaces the server's log-probabilities by the policy's, as the settings say, and compares them.

    Attributes:
        policy: with the weights that the server sampled from.
        settings: ``logps`` and ``max_logp_gap``.
        studies_per_pass: studies scored at a time, at least 1; memory grows with it.
    """

    policy: Policy
    settings: ServerSettings
    studies_per_pass: int

    def of(
        self, batch: StudyBatch, groups: tuple[RolloutGroup, ...], temperature: float
    ) -> tuple[tuple[RolloutGroup, ...], "Gap"]:
        """The groups with their ``old_logps``, and the difference between server and policy at temperature 1.

        Raises:
            RunPaused: the difference is above the limit, or the server left out what is needed.
        """
        if self.settings.logps == "server":
            if any(bool(logps.isnan().any()) for group in groups for logps in group.old_logps):
                raise RunPaused(
                    "the rollout server left out the log-probability of a stop token; use "
                    "rollout.server.logps=recomputed"
                )
            return groups, self._gap_of_first(batch, groups)
        logps = self._score(batch, groups, temperature)
        exact = tuple(replace(group, old_logps=own) for group, own in zip(groups, logps, strict=True))
        if temperature != 1:
            return exact, self._gap_of_first(batch, groups)
        gap = self._checked(Gap.between(groups, logps))
        sampled = zip(exact, groups, strict=True)
        return tuple(
            replace(one, sampler_logps=_whole(server.old_logps, one.old_logps)) for one, server in sampled
        ), gap

    def _gap_of_first(self, batch: StudyBatch, groups: tuple[RolloutGroup, ...]) -> "Gap":
        """The gap of one study, which shows whether the server has the current weights."""
        return self._checked(Gap.between(groups[:1], self._score(batch.select([0]), groups[:1], 1.0)))

    def _checked(self, gap: "Gap") -> "Gap":
        limit = self.settings.max_logp_gap
        if limit is not None and gap.mean > limit:
            raise RunPaused(
                f"server and policy differ by {gap.mean:.3g} in a token's log-probability, as a mean; "
                f"rollout.server.max_logp_gap is {limit:g}: the server has other base weights, does not apply what it "
                "is sent, or is quantised"
            )
        return gap

    def _score(self, batch: StudyBatch, groups: Sequence[RolloutGroup], temperature: float) -> CompletionLogps:
        logps: list[tuple[Tensor, ...]] = []
        for first in range(0, len(batch), self.studies_per_pass):
            places = range(first, min(first + self.studies_per_pass, len(batch)))
            completions = [groups[i].token_ids for i in places]
            logps.extend(score_frozen(self.policy, batch.select(places), completions, temperature))
        return tuple(logps)


@dataclass(frozen=True)
class Gap:
    """Absolute difference between server and policy over all tokens whose log-probability the server gave.

    Attributes:
        mean: at least 0.
        largest: at least ``mean``.
    """

    mean: float
    largest: float

    @classmethod
    def between(cls, groups: Sequence[RolloutGroup], exact: CompletionLogps) -> "Gap":
        """The gap between the groups' ``old_logps``, here the server's, and the policy's own."""
        theirs = torch.cat([logps for group in groups for logps in group.old_logps])
        ours = torch.cat([logps for study in exact for logps in study]).to(theirs.device)
        differences = (theirs - ours).abs()
        told = differences[~differences.isnan()]
        return cls(float(told.mean()), float(told.max())) if len(told) else NO_GAP


NO_GAP = Gap(math.nan, math.nan)


def _whole(theirs: Sequence[Tensor], ours: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The server's log-probabilities, completed by the policy's own for a stop token that the server left out."""
    return tuple(torch.where(one.isnan(), own.to(one.device), one) for one, own in zip(theirs, ours, strict=True))
