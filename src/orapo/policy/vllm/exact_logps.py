"""The log-probabilities that training starts from, and how far the server's are from the policy's own.

The server computes in other kernels, batches and often another precision than the policy. Scored once more by the
policy, the ratio of the first update is exactly 1, as with rollouts sampled here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
    """Replaces the server's log-probabilities by the policy's, as far as the settings say, and compares them.

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
    ) -> tuple[tuple[RolloutGroup, ...], float]:
        """The groups with their ``old_logps``, and the mean difference between server and policy at temperature 1.

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
        gap = self._checked(mean_gap(groups, logps)) if temperature == 1 else self._gap_of_first(batch, groups)
        exact = zip(groups, logps, strict=True)
        return tuple(RolloutGroup(g.texts, g.token_ids, own, g.finished) for g, own in exact), gap

    def _gap_of_first(self, batch: StudyBatch, groups: tuple[RolloutGroup, ...]) -> float:
        """The gap of one study, which tells whether the server has the current weights."""
        return self._checked(mean_gap(groups[:1], self._score(batch.select([0]), groups[:1], 1.0)))

    def _checked(self, gap: float) -> float:
        limit = self.settings.max_logp_gap
        if limit is not None and gap > limit:
            raise RunPaused(
                f"server and policy differ by {gap:.3g} in a token's log-probability, as a mean; "
                f"rollout.server.max_logp_gap is {limit:g}: the server has other base weights, does not apply the "
                "adapter, or is quantised"
            )
        return gap

    def _score(self, batch: StudyBatch, groups: Sequence[RolloutGroup], temperature: float) -> CompletionLogps:
        logps: list[tuple[Tensor, ...]] = []
        for first in range(0, len(batch), self.studies_per_pass):
            places = range(first, min(first + self.studies_per_pass, len(batch)))
            completions = [groups[i].token_ids for i in places]
            logps.extend(score_frozen(self.policy, batch.select(places), completions, temperature))
        return tuple(logps)


def mean_gap(groups: Sequence[RolloutGroup], exact: CompletionLogps) -> float:
    """Mean absolute difference over all tokens whose log-probability the server gave."""
    theirs = torch.cat([logps for group in groups for logps in group.old_logps])
    ours = torch.cat([logps for study in exact for logps in study]).to(theirs.device)
    return float((theirs - ours).abs().nanmean())
