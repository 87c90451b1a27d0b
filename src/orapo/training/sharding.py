"""A policy whose weights are sharded across the processes (FSDP2), and unsharded where it must be."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from orapo.policy.families.parts import layers
from orapo.policy.model import Policy
from orapo.training.distributed import Ranks


def shard(policy: Policy, mesh: DeviceMesh) -> None:
    """Shards the weights across the processes, layer by layer; no effect on a sharded policy."""
    if is_sharded(policy):
        return
    for layer in list(layers(policy.model)):
        fully_shard(layer, mesh=mesh)
    fully_shard(policy, mesh=mesh)
    # Rollouts reach the layers past ``forward``.
    register_fsdp_forward_method(policy, "roll_out")


def is_sharded(policy: Policy) -> bool:
    """Whether ``shard`` was called."""
    return isinstance(policy, FSDPModule)


@contextmanager
def unsharded(policy: Policy, ranks: Ranks) -> Iterator[None]:
    """Within the block, every process holds all weights: each may run its own number of passes.

    A rollout runs the layers once a token, and not equally often in all processes. No effect on a policy that isn't
    sharded.
    """
    if not is_sharded(policy):
        yield
        return
    ranks.all_or_raise(lambda: None)  # all are here: none has failed to read its batch
    sharded = [module for module in policy.modules() if isinstance(module, FSDPModule)]
    for layer in sharded:
        layer.set_reshard_after_forward(False, recurse=False)
        layer.unshard()
    try:
        yield
    finally:
        for layer in sharded:
            layer.reshard()
            # As ``fully_shard`` sets it: what stands outside the layers is needed again at once in the backward pass.
            layer.set_reshard_after_forward(layer is not sharded[0], recurse=False)


def full_state_dict(policy: Policy) -> dict[str, Tensor] | None:
    """The weights of ``policy.model`` on the CPU, in the first process; empty in the others; None if not sharded."""
    if not is_sharded(policy):
        return None
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights: dict[str, Any] = get_model_state_dict(policy.model, options=options)
    return weights
