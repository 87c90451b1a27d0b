"""The objective's input and output: scored tokens with their masks, validated on construction; losses per study."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from orapo.errors import DataError, NonFiniteError

_LOGP_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class ScoredGroups:
    """B studies with K rollouts of up to T tokens each, and their oracle reports of up to S tokens.

    Log-probabilities are natural, one per token; values at padding are never read (NaN and infinity included).
    All of them share one dtype, float32 or float64: sums over hundreds of tokens need it. The gradient flows through
    ``policy_logps`` and ``oracle_policy_logps`` only.

    Attributes:
        policy_logps: [B, K, T], under the policy being trained.
        old_logps: [B, K, T], under the policy that sampled the group.
        ref_logps: [B, K, T], under the frozen reference; None where no loss needs it.
        completion_mask: [B, K, T] bool, True = this token counts: EOS does, padding doesn't; at least one per rollout.
        rewards: [B, K], in [0, 1].
        oracle_policy_logps: [B, S], the oracle report under the policy; None where no loss needs it.
        oracle_ref_logps: [B, S], the oracle report under the frozen reference; None where no loss needs it.
        oracle_mask: [B, S] bool, like ``completion_mask``; present exactly when ``oracle_policy_logps`` is.
        finished: [B, K] bool, False where a rollout was cut at the token limit; None where no loss needs it.
        tokens_per_study: what ``OrapoObjective.loss_tokens`` gives for the whole batch, averaged over its studies,
            at least 0; None when these B studies are the whole batch.
        compared: [B, K], finite: what advantages compare within a group; None: the rewards.
        is_zero: [B, K] bool, True where a rollout counts as a reward of zero; None: where its reward is 0.
        sampler_logps: [B, K, T], under the model that drew the tokens, over the whole vocabulary; None where that is
            the policy of ``old_logps``.

    Raises:
        DataError: a shape, dtype or range is wrong; the message names the field.
        NonFiniteError: a reward, or the log-probability of a token that counts, is NaN or infinite.
    """

    policy_logps: Tensor
    old_logps: Tensor
    ref_logps: Tensor | None
    completion_mask: Tensor
    rewards: Tensor
    oracle_policy_logps: Tensor | None = None
    oracle_ref_logps: Tensor | None = None
    oracle_mask: Tensor | None = None
    finished: Tensor | None = None
    tokens_per_study: float | None = None
    compared: Tensor | None = None
    is_zero: Tensor | None = None
    sampler_logps: Tensor | None = None

    def __post_init__(self) -> None:
        _check_mask("completion_mask", self.completion_mask, num_dims=3)
        names = ("policy_logps", "old_logps", "ref_logps", "sampler_logps")
        self._check_logps({name: getattr(self, name) for name in names}, self.completion_mask)
        self._check_rewards()
        self._check_batch_facts()
        if (self.oracle_policy_logps is None) != (self.oracle_mask is None):
            raise DataError("oracle_policy_logps and oracle_mask go together; one of them is None")
        if self.oracle_mask is None:
            if self.oracle_ref_logps is not None:
                raise DataError("oracle_ref_logps is given without oracle_policy_logps and oracle_mask")
            return
        _check_mask("oracle_mask", self.oracle_mask, num_dims=2)
        if self.oracle_mask.shape[0] != self.num_studies:
            raise DataError(f"oracle_mask has {self.oracle_mask.shape[0]} studies, completion_mask {self.num_studies}")
        oracles = {"oracle_policy_logps": self.oracle_policy_logps, "oracle_ref_logps": self.oracle_ref_logps}
        self._check_logps(oracles, self.oracle_mask)

    @classmethod
    def without_rollouts(
        cls, oracle_policy_logps: Tensor, oracle_mask: Tensor, oracle_ref_logps: Tensor | None = None
    ) -> "ScoredGroups":
        """Oracle reports only (K = 0, T = 0), for an objective that needs no rollouts such as pure SFT."""
        empty = oracle_policy_logps.new_zeros((oracle_policy_logps.shape[0], 0, 0))
        return cls(
            policy_logps=empty,
            old_logps=empty,
            ref_logps=None,
            completion_mask=empty.bool(),
            rewards=empty.sum(dim=-1),
            oracle_policy_logps=oracle_policy_logps,
            oracle_ref_logps=oracle_ref_logps,
            oracle_mask=oracle_mask,
        )

    @property
    def num_studies(self) -> int:
        return self.completion_mask.shape[0]

    @property
    def rollouts_per_study(self) -> int:
        """K; 0 when there are only oracle reports."""
        return self.completion_mask.shape[1]

    @property
    def advantage_rewards(self) -> Tensor:
        """What advantages compare within a group, [B, K], without gradient."""
        return (self.rewards if self.compared is None else self.compared).detach()

    @property
    def earned(self) -> Tensor:
        """Rewards that are 0 exactly where a rollout counts as a reward of zero, [B, K]."""
        return earned_rewards(self.rewards, self.is_zero)

    def _check_logps(self, tensors: Mapping[str, Tensor | None], mask: Tensor) -> None:
        for name, logps in tensors.items():
            if logps is None:
                continue
            _check_shape(name, logps, mask.shape)
            if logps.dtype not in _LOGP_DTYPES or logps.dtype != self.policy_logps.dtype:
                raise DataError(f"{name} is {logps.dtype}; all log-probabilities are float32, or all are float64")
            broken = (~counted(logps.detach(), mask).isfinite()).nonzero()
            if len(broken):
                where = broken[0].tolist()
                raise NonFiniteError(f"{name}{where} is {logps[tuple(where)].item()} at a token that counts")

    def _check_rewards(self) -> None:
        _check_shape("rewards", self.rewards, self.completion_mask.shape[:2])
        check_rewards(self.rewards)
        if self.is_zero is not None:
            _check_shape("is_zero", self.is_zero, self.rewards.shape)
        if self.compared is not None:
            _check_shape("compared", self.compared, self.rewards.shape)
            if not bool(self.compared.isfinite().all()):
                raise NonFiniteError("compared holds a value that is NaN or infinite")

    def _check_batch_facts(self) -> None:
        if self.finished is not None:
            _check_shape("finished", self.finished, self.completion_mask.shape[:2])
            if self.finished.dtype != torch.bool:
                raise DataError(f"finished is {self.finished.dtype}; a bool tensor is needed")
        if self.tokens_per_study is not None and not 0 <= self.tokens_per_study < float("inf"):
            raise DataError(f"tokens_per_study is {self.tokens_per_study}; a finite number, at least 0, is needed")


@dataclass(frozen=True)
class StudyLoss:
    """One loss, per study.

    Attributes:
        loss: [B], with its gradient.
        diagnostics: name -> [B], detached; NaN where it is undefined for a study (then leave it out of an average).
    """

    loss: Tensor
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectiveOutput:
    """The loss of B studies and its parts.

    Attributes:
        loss: scalar, the mean over the B studies: the only tensor here that carries a gradient.
        policy_loss: [B], L_GRPO of each study before weighting; None where its weight is always 0.
        oracle_loss: [B], L_DPO (or SFT) of each study before weighting; None where its weight is always 0.
        weight: [B], the oracle's share w.
        diagnostics: name -> [B], of both losses: ``kl``, ``clip_fraction``, ``dpo_margin``, ``dpo_accuracy``,
            ``dpo_num_pairs``; NaN where undefined for a study.
    """

    loss: Tensor
    policy_loss: Tensor | None
    oracle_loss: Tensor | None
    weight: Tensor
    diagnostics: Mapping[str, Tensor]


def counted(logps: Tensor, mask: Tensor) -> Tensor:
    """The log-probabilities with 0 at padding, so that padding affects neither values nor gradients."""
    return logps.masked_fill(~mask, 0.0)


def check_rewards(rewards: Tensor) -> None:
    """Accepts rewards [B, K] of a floating dtype in [0, 1].

    Raises:
        DataError: another rank or dtype, or a reward outside [0, 1].
        NonFiniteError: a reward is NaN or infinite.
    """
    if not isinstance(rewards, Tensor) or rewards.ndim != 2 or not rewards.is_floating_point():
        raise DataError(f"rewards is {_describe(rewards)}; a floating tensor [B, K] is needed")
    outside = (~((rewards >= 0) & (rewards <= 1))).nonzero()
    if len(outside):
        study, rollout = outside[0].tolist()
        value = rewards[study, rollout].item()
        message = f"rewards[{study}, {rollout}] is {value}; allowed is [0, 1]"
        raise DataError(message) if abs(value) < float("inf") else NonFiniteError(message)


def earned_rewards(rewards: Tensor, is_zero: Tensor | None) -> Tensor:
    """Rewards [B, K] that are 0 exactly where ``is_zero`` [B, K] says so; as they are where it is None."""
    if is_zero is None:
        return rewards
    return rewards.clamp(min=torch.finfo(rewards.dtype).tiny).masked_fill(is_zero, 0.0)


def require(name: str, tensor: Tensor | None, user: str) -> Tensor:
    """The tensor, which this loss needs.

    Raises:
        DataError: it is None.
    """
    if tensor is None:
        raise DataError(f"{name} is None; {user} needs it")
    return tensor


def _check_shape(name: str, tensor: object, shape: torch.Size) -> None:
    if not isinstance(tensor, Tensor) or tensor.shape != shape:
        raise DataError(f"{name} is {_describe(tensor)}; a tensor {list(shape)} is needed")


def _check_mask(name: str, mask: object, num_dims: int) -> None:
    if not isinstance(mask, Tensor) or mask.ndim != num_dims or mask.dtype != torch.bool:
        raise DataError(f"{name} is {_describe(mask)}; a bool tensor of {num_dims} dimensions is needed")
    if mask.shape[0] == 0:
        raise DataError(f"{name} has no study; at least one is needed")
    empty = (~mask.any(dim=-1)).nonzero()
    if len(empty):
        raise DataError(f"{name}{empty[0].tolist()} counts no token; every completion has at least its EOS")


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__
