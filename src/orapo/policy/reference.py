"""The frozen reference policy: the policy without its adapter, or a copy taken before training."""

import copy
from dataclasses import replace
from typing import Protocol

import torch
from torch import nn

from orapo.batches import StudyBatch
from orapo.policy.families.parts import product_weights
from orapo.policy.model import Policy
from orapo.policy.prompts import vision_trains
from orapo.policy.scoring import CompletionLogps, Completions


class Reference(Protocol):
    """Scores completions under the policy as it was before training."""

    def score(self, batch: StudyBatch, completions: Completions, temperature: float) -> CompletionLogps:
        """Log-probabilities without gradient; shapes as in ``Policy.forward``."""
        ...


class AdapterOffReference:
    """The policy with its LoRA adapter switched off: no second copy of the weights."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def score(self, batch: StudyBatch, completions: Completions, temperature: float) -> CompletionLogps:
        with self._policy.adapter.disable_adapter():
            return score_frozen(self._policy, batch, completions, temperature)


class FrozenCopyReference:
    """A copy of all weights, taken on construction.

    Attributes:
        copy: the frozen policy; training may shard it across processes.
    """

    def __init__(self, policy: Policy, product_dtype: torch.dtype | None = None) -> None:
        """Copies the weights.

        Args:
            policy: before training.
            product_dtype: in which autocast multiplies wherever this scores; None: there is no autocast. The weights of
                products are kept in it: autocast would round them so each time, and the scores are the same bit for
                bit.
        """
        self._shares_vision = not vision_trains(policy.model)
        rounded: dict[int, nn.Parameter] = {}
        if product_dtype is not None:
            for weight in product_weights(policy.model):
                rounded[id(weight)] = nn.Parameter(weight.detach().to(product_dtype), requires_grad=False)
        # What the memo holds counts as copied: no weight is there twice in its old type.
        self.copy = copy.deepcopy(policy, dict(rounded)).requires_grad_(False).eval()

    def score(self, batch: StudyBatch, completions: Completions, temperature: float) -> CompletionLogps:
        """Log-probabilities under the copy, which follows the batch's device."""
        self.copy.to(batch.device)
        if not self._shares_vision:
            # Features of a tower that trains are not those of the copy's, which stay as they are.
            batch = self.copy.with_images_encoded(replace(batch, image_features=None))
        return score_frozen(self.copy, batch, completions, temperature)


def score_frozen(policy: Policy, batch: StudyBatch, completions: Completions, temperature: float) -> CompletionLogps:
    """Scores in eval mode without gradient, and restores the mode."""
    was_training = policy.model.training
    policy.model.eval()
    with torch.no_grad():
        logps: CompletionLogps = policy(batch, completions, temperature)
    policy.model.train(was_training)
    torch.clear_autocast_cache()
    return logps


def make_reference(policy: Policy, product_dtype: torch.dtype | None = None) -> Reference:
    """The cheapest exact reference for this policy; call it before training starts.

    Args:
        policy: with its first weights.
        product_dtype: see ``FrozenCopyReference``.
    """
    return AdapterOffReference(policy) if policy.adapter is not None else FrozenCopyReference(policy, product_dtype)
