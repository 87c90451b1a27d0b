"""Log-probabilities of chosen tokens without keeping logits of the whole vocabulary for the backward pass."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

MAX_LOGITS_AT_ONCE = 2**24
"""Logits held at a time (64 MB in float32); beyond it chunks are recomputed in the backward pass."""


def token_logps(hidden: Tensor, targets: Tensor, output_embedding: nn.Module, temperature: float) -> Tensor:
    """Log softmax of (logits / temperature) at the target tokens, in float32.

    Args:
        hidden: [N, H], the states that predict.
        targets: [N], int64, the tokens predicted.
        output_embedding: H to vocabulary size.
        temperature: > 0; 1 is the model as it is.

    Returns:
        [N], float32, each at most 0.
    """
    vocabulary_size = int(output_embedding.weight.shape[0])  # type: ignore[index]
    rows = max(1, MAX_LOGITS_AT_ONCE // vocabulary_size)
    if len(hidden) <= rows:
        return _logps(hidden, targets, output_embedding, temperature)
    chunks = [
        checkpoint(_logps, states, tokens, output_embedding, temperature, use_reentrant=False)
        for states, tokens in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    ]
    return torch.cat(chunks)


def _logps(hidden: Tensor, targets: Tensor, output_embedding: nn.Module, temperature: float) -> Tensor:
    return chosen_logps(output_embedding(hidden), targets, temperature)


def chosen_logps(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Log softmax of (logits [N, V] / temperature) at the target tokens [N], in float32."""
    logits = logits.float()
    chosen: Tensor = _ChosenLogSoftmax.apply(logits if temperature == 1 else logits / temperature, targets)  # type: ignore[no-untyped-call]
    return chosen


class _ChosenLogSoftmax(torch.autograd.Function):
    """Log softmax at one column of each row, [N, V] to [N].

    Its gradient, softmax minus one-hot, is written in place: torch's own keeps and fills [N, V] three times.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        logps = torch.log_softmax(logits, dim=-1)
        ctx.save_for_backward(logps, targets)
        return logps.gather(1, targets.unsqueeze(1)).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logps, targets = ctx.saved_tensors
        column = gradient.unsqueeze(1)
        to_logits = logps.exp().mul_(-column)
        return to_logits.scatter_add_(1, targets.unsqueeze(1), column), None
