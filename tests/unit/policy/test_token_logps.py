"""Log-probabilities of chosen tokens: values and gradients against torch's own, in one piece and in chunks."""

import pytest
import torch
from torch import Tensor, nn

from orapo.policy import token_logps as module
from orapo.policy.token_logps import token_logps


def results(hidden: Tensor, logps: Tensor, embedding: nn.Module) -> list[Tensor]:
    """The values, and the gradients of their weighted sum."""
    weighted = (logps * torch.linspace(-1, 2, len(logps), dtype=logps.dtype)).sum()
    return [logps.detach(), *torch.autograd.grad(weighted, [hidden, *embedding.parameters()])]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("logits_at_once", [module.MAX_LOGITS_AT_ONCE, 60])
def test_values_and_gradients(temperature: float, logits_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LOGITS_AT_ONCE", logits_at_once)
    torch.manual_seed(0)
    embedding = nn.Linear(6, 20)
    hidden = (3 * torch.randn(11, 6)).requires_grad_()
    # The same token twice, and the first and last of the vocabulary.
    targets = torch.tensor([0, 19, 4, 4, 7, 1, 2, 3, 18, 0, 5])
    ours = results(hidden, token_logps(hidden, targets, embedding, temperature), embedding)
    logps = torch.log_softmax(embedding(hidden) / temperature, dim=-1)
    for one, other in zip(ours, results(hidden, logps[torch.arange(11), targets], embedding), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
