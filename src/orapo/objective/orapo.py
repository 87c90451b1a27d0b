"""The OraPO objective, equations (8)-(11): the weaker a study's rollouts, the larger the oracle report's share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from orapo.errors import CheckpointError, DataError, SettingError
from orapo.objective.correction import Correction, Level, corrected
from orapo.objective.losses import BatchTokenMean, DynamicSampling, OracleLoss, PolicyLoss, part
from orapo.objective.preference import ZeroRewardRollouts
from orapo.objective.tensors import ObjectiveOutput, ScoredGroups, check_rewards, earned_rewards
from orapo.objective.zero_reward import MovingAverage, ZeroReward, mixing_weight
from orapo.settings import Fraction, settings

_WEIGHT_TOLERANCE = 1e-6
_STATE_KEY = "zero_reward_average"


@dataclass(frozen=True)
class Mixing:
    """The oracle's share, from the rewards of a batch; all [B], without gradient.

    Attributes:
        zero_reward_rate: z of equation (8), in [0, 1].
        smoothed: zbar of equation (9), in [0, 1].
        weight: w of equation (10), in [w_min, w_max].
        all_zero_group: bool, True where no rollout of the study earned anything.
    """

    zero_reward_rate: Tensor
    smoothed: Tensor
    weight: Tensor
    all_zero_group: Tensor


@settings
class OrapoObjective:
    """(1 - w) * policy loss + w * oracle loss per study, with w from the study's zero-reward rate.

    Special cases are settings: GRPO alone is ``w_min = w_max = 0``, the oracle loss alone (SFT, DPO)
    ``w_min = w_max = 1``, a constant mixture ``w_min = w_max``. A part whose weight is always 0 is not computed.

    Attributes:
        alpha: share of the previous value in the moving average, in [0, 1].
        w_min: the oracle's least share, in [0, 1].
        w_max: the oracle's largest share, in [w_min, 1].
        gamma: exponent on the smoothed rate, above 0.
        zero_reward: z of equation (8).
        average: zbar of equation (9); the only state.
        policy_loss: learns from the rewards.
        oracle_loss: learns from the oracle report.
        correction: for tokens that another model than the policy sampled: "none", or importance weights, cut at a limit
            ("truncate") or set to 0 beyond it ("mask").
        correction_level: a weight for each "token", or for each rollout ("sequence").
        correction_limit: of a weight, > 1; "mask" also drops weights below its inverse.

    Raises:
        SettingError: a value is out of its range or of another type.
    """

    alpha: Fraction
    w_min: Fraction
    w_max: Fraction
    gamma: PositiveFloat
    zero_reward: Annotated[ZeroReward, part("ZeroRewardFraction()")]
    average: Annotated[MovingAverage, part("PerStudyAverage()", method="update")]
    policy_loss: Annotated[PolicyLoss, part("DrGrpo(max_new_tokens=256)")]
    oracle_loss: Annotated[OracleLoss, part("Dpo(dpo_beta=0.1)")]
    correction: Correction = "none"
    correction_level: Level = "token"
    correction_limit: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0

    def __post_init__(self) -> None:
        if self.w_min > self.w_max:
            raise SettingError(f"w_min is {self.w_min!r}; it must be at most w_max, {self.w_max!r}")

    @property
    def uses_policy_loss(self) -> bool:
        """False where the oracle's share is always 1."""
        return self.w_min < 1

    @property
    def needs_oracle(self) -> bool:
        """Whether the oracle report's log-probabilities are read: its share can rise above 0."""
        return self.w_max > 0

    @property
    def needs_rollouts(self) -> bool:
        """Whether rollouts and their rewards are read; False for pure SFT."""
        return self.uses_policy_loss or self.oracle_loss.needs_rollouts

    @property
    def needs_zero_reward(self) -> bool:
        """Whether the weight, or the pairs, depend on which rollouts count as a reward of zero."""
        by_pairs = isinstance(getattr(self.oracle_loss, "negatives", None), ZeroRewardRollouts)
        return self.needs_rollouts and (self.w_min < self.w_max or (self.needs_oracle and by_pairs))

    @property
    def needs_reference(self) -> bool:
        """Whether the frozen reference's log-probabilities are read."""
        by_policy = self.uses_policy_loss and self.policy_loss.needs_reference
        return by_policy or (self.needs_oracle and self.oracle_loss.needs_reference)

    @property
    def min_rollouts_per_study(self) -> int:
        """The least K: 2 where advantages are computed, 1 for DPO alone, 0 for SFT alone."""
        return 2 if self.uses_policy_loss else int(self.needs_rollouts)

    @property
    def max_redraws(self) -> int | None:
        """How often a group whose rollouts all earned the same is sampled again; None keeps it."""
        sampling = self.policy_loss if self.uses_policy_loss else None
        return sampling.max_redraws if isinstance(sampling, DynamicSampling) else None

    def loss_tokens(self, num_tokens: Tensor, rewards: Tensor, finished: Tensor) -> Tensor | None:
        """The number of tokens of each study that the policy loss averages over, [B]; None if it needs no such count.

        Args:
            num_tokens: [B, K], of each rollout.
            rewards: [B, K], as advantages see them.
            finished: [B, K] bool, False where a rollout was cut at the token limit.
        """
        if not (self.uses_policy_loss and isinstance(self.policy_loss, BatchTokenMean)):
            return None
        return self.policy_loss.loss_tokens(num_tokens, rewards, finished)

    def fixed_weight(self, num_studies: int) -> Tensor:
        """The weight [B] for a batch without rollouts, of an objective whose weight doesn't depend on rewards.

        Raises:
            SettingError: ``w_min`` and ``w_max`` differ, so that the weight needs ``observe``.
        """
        if self.w_min != self.w_max:
            raise SettingError(f"w_min is {self.w_min!r}; without rollouts it must equal w_max, {self.w_max!r}")
        return torch.full((num_studies,), float(self.w_min))

    def observe(self, study_ids: Sequence[str], rewards: Tensor, is_zero: Tensor | None = None) -> Mixing:
        """Equations (8)-(10): each study's weight, from a batch's rewards [B, K]; updates the average.

        ``is_zero``, bool [B, K], says which rollouts count as a reward of zero; None: those whose reward is 0.

        Call it once per batch, not per inner step, and under data parallelism with the gathered batch of all ranks.

        Raises:
            DataError: rewards are not floats in [0, 1], K is 0, or the ids are not B strings.
            NonFiniteError: a reward is NaN or infinite.
        """
        check_rewards(rewards)
        num_studies, rollouts_per_study = rewards.shape
        if num_studies == 0 or rollouts_per_study == 0:
            raise DataError(f"rewards is {list(rewards.shape)}; at least one study and one rollout are needed")
        if isinstance(study_ids, str) or len(study_ids) != num_studies:
            raise DataError(f"study_ids is {study_ids!r}; rewards have {num_studies} studies")
        for study_id in study_ids:
            if not isinstance(study_id, str):
                raise DataError(f"study id {study_id!r} is {type(study_id).__name__}; a string is needed")
        earned = earned_rewards(rewards.detach(), is_zero)
        rates = self.zero_reward(earned)
        smoothed = rates.new_tensor(self.average.update(study_ids, rates.tolist(), self.alpha))
        return Mixing(
            zero_reward_rate=rates,
            smoothed=smoothed,
            weight=mixing_weight(smoothed, self.w_min, self.w_max, self.gamma),
            all_zero_group=(earned == 0).all(dim=1),
        )

    def loss(self, scored: ScoredGroups, weight: Tensor) -> ObjectiveOutput:
        """Equation (11): the mean over the B studies given; a caller that splits a batch scales the parts by their B.

        Raises:
            DataError: ``weight`` is not [B] in [w_min, w_max], or a tensor that a loss needs is missing.
            SettingError: K is below 2 and the policy loss is used.
        """
        weight = self._checked_weight(weight, scored)
        policy = told = None
        if self.uses_policy_loss:
            sampled, told = corrected(scored, self.correction, self.correction_level, self.correction_limit)
            policy = self.policy_loss(sampled)
        oracle = self.oracle_loss(scored) if self.needs_oracle else None
        # A part that was left out has weight 0 in every study, so the sum below is still equation (11).
        per_study = torch.zeros_like(weight)
        if policy is not None:
            per_study = per_study + (1.0 - weight) * policy.loss
        if oracle is not None:
            per_study = per_study + weight * oracle.loss
        return ObjectiveOutput(
            policy_loss=None if policy is None else policy.loss.detach(),
            oracle_loss=None if oracle is None else oracle.loss.detach(),
            weight=weight,
            diagnostics={
                **(told or {}),
                **{
                    name: values
                    for part in (policy, oracle)
                    if part is not None
                    for name, values in part.diagnostics.items()
                },
            },
            loss=per_study.mean(),
        )

    def state_dict(self) -> dict[str, Any]:
        """The moving average, in plain Python types: loads with ``weights_only=True``."""
        return {_STATE_KEY: self.average.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the moving average.

        Raises:
            CheckpointError: the state is of another average, or a value is not a rate in [0, 1].
        """
        if list(state) != [_STATE_KEY] or not isinstance(state[_STATE_KEY], Mapping):
            raise CheckpointError(f"objective state has keys {list(state)}; allowed is a mapping {_STATE_KEY!r}")
        self.average.load_state_dict(state[_STATE_KEY])

    def _checked_weight(self, weight: Tensor, scored: ScoredGroups) -> Tensor:
        if not isinstance(weight, Tensor) or weight.shape != (scored.num_studies,):
            shape = list(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
            raise DataError(f"weight is {shape}; a tensor [{scored.num_studies}] is needed")
        weight = weight.detach().to(scored.policy_logps)
        inside = (weight >= self.w_min - _WEIGHT_TOLERANCE) & (weight <= self.w_max + _WEIGHT_TOLERANCE)
        if not bool(inside.all()):
            raise DataError(f"weight is {weight.tolist()}; allowed is [{self.w_min}, {self.w_max}]")
        return weight
