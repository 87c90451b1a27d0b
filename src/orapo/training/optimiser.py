"""AdamW over the weights that train, its schedule, and one step of both."""

import math
from collections.abc import Iterable

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import Strategy
from torch.distributed.tensor import DTensor
from torch.nn import Parameter
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from orapo.errors import NonFiniteError
from orapo.training.settings import TrainingSettings
from orapo.training.strategies import DataParallel


def make_optimiser(
    parameters: Iterable[Parameter], settings: TrainingSettings, num_steps: int
) -> tuple[AdamW, LambdaLR]:
    """The optimiser of the parameters that train, with linear warm-up and decay per optimiser step.

    Args:
        parameters: of the policy.
        settings: rates and decay.
        num_steps: training steps of the whole run.
    """
    optimizer = AdamW(
        [parameter for parameter in parameters if parameter.requires_grad],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
        # One pass over weights, gradients and moments instead of ten.
        fused=True,
    )
    num_updates = num_steps * settings.inner_steps
    return optimizer, LambdaLR(optimizer, lambda step: settings.learning_rate_factor(step, num_updates))


def optimiser_step(
    optimizer: LightningOptimizer, scheduler: LambdaLR, strategy: Strategy, max_grad_norm: float
) -> tuple[float, float]:
    """Steps the weights by the accumulated gradients, and clears these.

    Args:
        optimizer: of ``make_optimiser``, as Lightning hands it out.
        scheduler: likewise.
        strategy: of the trainer; it may have to add up the processes' gradients.
        max_grad_norm: gradients are scaled down to this norm, > 0.

    Returns:
        The gradients' norm before scaling, and the learning rate of this step.

    Raises:
        NonFiniteError: the norm is NaN or infinite; the weights have not moved.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if isinstance(strategy, DataParallel):
        strategy.sum_gradients(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    grad_norm = (norm.full_tensor() if isinstance(norm, DTensor) else norm).item()
    if not math.isfinite(grad_norm):
        raise NonFiniteError(f"the gradient's norm is {grad_norm}")
    learning_rate = float(optimizer.param_groups[0]["lr"])
    optimizer.step()
    optimizer.zero_grad()
    scheduler.step()
    return grad_norm, learning_rate
