"""How long, on how much at a time, and how the policy is trained."""

from dataclasses import dataclass

from orapo.bounds import require_number, require_whole
from orapo.errors import SettingError

MATMUL_PRECISIONS = ("highest", "high", "medium")


@dataclass(frozen=True)
class TrainingSettings:
    """Length, batches, optimiser, schedule and the shape of one update.

    Attributes:
        batch_size: B, studies per training step; at least 1.
        num_steps: training steps (batches of studies), or None when ``num_passes`` is given.
        num_passes: passes over the training subset, > 0, or None when ``num_steps`` is given.
        eval_batch_size: studies generated for at a time in validation and test; at least 1.
        num_workers: processes that open images; 0 opens them in the training process.
        validate_every_steps: training steps between validations; at least 1; None never validates.
        learning_rate: peak, > 0.
        warmup_steps: optimiser steps of linear warm-up from 0, >= 0.
        final_lr_fraction: in [0, 1]; the rate falls linearly to this fraction of the peak; 1 keeps it constant.
        weight_decay: AdamW's, >= 0.
        beta1: AdamW's, in [0, 1).
        beta2: AdamW's, in [0, 1).
        max_grad_norm: gradients are scaled down to this norm, > 0.
        inner_steps: optimiser steps on each batch of rollouts, >= 1; above 1 the clipped ratio acts.
        studies_per_micro_batch: studies scored at a time, >= 1; memory grows with it, the result does not change.
        float32_matmul_precision: "highest" | "high" | "medium": bits of float32 products on a GPU; see torch's function
            of this name. A CPU multiplies exactly.
    """

    batch_size: int
    num_steps: int | None
    num_passes: float | None
    eval_batch_size: int
    num_workers: int
    validate_every_steps: int | None
    learning_rate: float
    warmup_steps: int
    final_lr_fraction: float
    weight_decay: float
    beta1: float
    beta2: float
    max_grad_norm: float
    inner_steps: int
    studies_per_micro_batch: int
    float32_matmul_precision: str = "high"

    def __post_init__(self) -> None:
        require_number("training.learning_rate", self.learning_rate, above=0)
        require_number("training.warmup_steps", self.warmup_steps, at_least=0)
        require_number("training.final_lr_fraction", self.final_lr_fraction, at_least=0, at_most=1)
        require_number("training.weight_decay", self.weight_decay, at_least=0)
        require_number("training.beta1", self.beta1, at_least=0, below=1)
        require_number("training.beta2", self.beta2, at_least=0, below=1)
        require_number("training.max_grad_norm", self.max_grad_norm, above=0)
        require_whole("training.inner_steps", self.inner_steps, 1)
        require_whole("training.studies_per_micro_batch", self.studies_per_micro_batch, 1)
        require_whole("training.batch_size", self.batch_size, 1)
        require_whole("training.eval_batch_size", self.eval_batch_size, 1)
        require_whole("training.num_workers", self.num_workers, 0)
        if self.float32_matmul_precision not in MATMUL_PRECISIONS:
            raise SettingError(
                f"training.float32_matmul_precision is {self.float32_matmul_precision!r}; it must be one of "
                f"{', '.join(MATMUL_PRECISIONS)}"
            )
        for key in ("num_steps", "validate_every_steps"):
            if getattr(self, key) is not None:
                require_whole(f"training.{key}", getattr(self, key), 1)
        if self.num_passes is not None:
            require_number("training.num_passes", self.num_passes, above=0)
        if (self.num_steps is None) == (self.num_passes is None):
            raise SettingError(
                f"training.num_steps is {self.num_steps!r} and training.num_passes is {self.num_passes!r}; "
                "exactly one of them must be given, the other null"
            )

    def learning_rate_factor(self, step: int, num_steps: int) -> float:
        """The rate at an optimiser step (from 0) of ``num_steps``, as a fraction of the peak."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        left = max(0.0, (num_steps - step) / max(1, num_steps - self.warmup_steps))
        return self.final_lr_fraction + (1 - self.final_lr_fraction) * left
