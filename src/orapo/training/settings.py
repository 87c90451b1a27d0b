"""How long, in what batches, and how the policy is trained."""

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from orapo.errors import SettingError
from orapo.settings import Count, Fraction, FractionBelowOne, NumWorkers, settings


@settings
class TrainingSettings:
    """Length, batches, optimiser, schedule and the shape of one update.

    Attributes:
        batch_size: B, studies per training step; 1 to 100,000.
        num_steps: training steps (batches of studies), or None when ``num_passes`` is given.
        num_passes: passes over the training subset, > 0, or None when ``num_steps`` is given.
        eval_batch_size: studies generated for at a time in validation and test; 1 to 100,000.
        num_workers: processes that open images, at most 256; 0 opens them in the training process.
        validate_every_steps: training steps between validations; at least 1; None never validates.
        learning_rate: peak, > 0.
        warmup_steps: optimiser steps of linear warm-up from 0, >= 0.
        final_lr_fraction: in [0, 1]; the rate falls linearly to this fraction of the peak; 1 keeps it constant.
        weight_decay: AdamW's, >= 0.
        beta1: AdamW's, in [0, 1).
        beta2: AdamW's, in [0, 1).
        max_grad_norm: gradients are scaled down to this norm, > 0.
        inner_steps: optimiser steps on each batch of rollouts, >= 1; above 1 the clipped ratio acts.
        studies_per_micro_batch: studies scored at a time, >= 1; memory grows with it, the result does not change;
            "auto" leaves it to the experiment.
        float32_matmul_precision: "highest" | "high" | "medium": bits of float32 products on a GPU; see torch's function
            of this name. A CPU multiplies exactly.
    """

    batch_size: Count
    num_steps: PositiveInt | None
    num_passes: PositiveFloat | None
    eval_batch_size: Count
    num_workers: NumWorkers
    validate_every_steps: PositiveInt | None
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt
    final_lr_fraction: Fraction
    weight_decay: NonNegativeFloat
    beta1: FractionBelowOne
    beta2: FractionBelowOne
    max_grad_norm: PositiveFloat
    inner_steps: Count
    studies_per_micro_batch: Count | Literal["auto"]
    float32_matmul_precision: Literal["highest", "high", "medium"] = "high"

    def __post_init__(self) -> None:
        if (self.num_steps is None) == (self.num_passes is None):
            raise SettingError(
                f"num_steps is {self.num_steps!r} and num_passes is {self.num_passes!r}; exactly one of them must be "
                "given, the other null"
            )

    @property
    def micro_batch(self) -> int:
        """``studies_per_micro_batch``, or 1 where "auto" is still unresolved."""
        return 1 if self.studies_per_micro_batch == "auto" else self.studies_per_micro_batch

    def learning_rate_factor(self, step: int, num_steps: int) -> float:
        """The rate at an optimiser step (from 0) of ``num_steps``, as a fraction of the peak."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        left = max(0.0, (num_steps - step) / max(1, num_steps - self.warmup_steps))
        return self.final_lr_fraction + (1 - self.final_lr_fraction) * left
