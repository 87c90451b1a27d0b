"""How several processes train one policy: each holds all weights and gradients are summed, or each holds a shard."""

from collections.abc import Sequence
from datetime import timedelta

import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from pydantic import PositiveFloat
from torch import Tensor, distributed
from torch.distributed.device_mesh import DeviceMesh

from orapo.settings import checked

BUCKET_BYTES = 64 * 2**20
"""Gradients summed at a time: large enough for the network, small beside the weights."""


class DataParallel(DDPStrategy):
    """Every process holds the whole policy; gradients are summed once per optimiser step.

    Lightning's own wrapper sums in every backward pass and needs the same number of them in all processes. Here
    each process has its own number of micro-batches, since studies that no judge could read are left out.
    """

    @checked
    def __init__(self, timeout_hours: PositiveFloat) -> None:
        """Stores the settings.

        Args:
            timeout_hours: > 0, how long a process waits for another one; a judge may take long.
        """
        super().__init__(timeout=timedelta(hours=timeout_hours))
        self.timeout_hours = timeout_hours

    def configure_ddp(self) -> None:
        """Wraps nothing; broadcasts the first process's weights."""
        assert self.model is not None
        with torch.no_grad():
            for weight in (*self.model.parameters(), *self.model.buffers()):
                distributed.broadcast(weight.data, src=0)

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Sums every parameter's gradient over all processes.

        Where some processes have none it counts as zero; where none has, it stays so, as in a single process.
        """
        is_given = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=self.root_device)
        distributed.all_reduce(is_given, op=distributed.ReduceOp.MAX)
        given = [parameter for parameter, count in zip(parameters, is_given.tolist(), strict=True) if count]
        for parameter in given:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in buckets(given):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            distributed.all_reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))


class Sharded(ModelParallelStrategy):
    """Every process holds a shard of weights, gradients and optimiser states (FSDP2).

    ``OrapoModule.configure_model`` shards; a layer is unsharded only while it computes. Every process must run the same
    number of passes through the layers. Checkpoints hold all weights, as in a single process.
    """

    @checked
    def __init__(self, timeout_hours: PositiveFloat) -> None:
        """Stores the settings.

        Args:
            timeout_hours: > 0, how long a process waits for another one; a judge may take long.
        """
        super().__init__(
            tensor_parallel_size=1, save_distributed_checkpoint=False, timeout=timedelta(hours=timeout_hours)
        )
        self.timeout_hours = timeout_hours

    def setup_environment(self) -> None:
        """Shards over all processes of all machines."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @property
    def shard_mesh(self) -> DeviceMesh:
        """The processes that the weights are sharded across."""
        mesh: DeviceMesh = self.device_mesh["data_parallel"]
        return mesh


def buckets(parameters: Sequence[Tensor]) -> list[list[Tensor]]:
    """The gradients in groups of one dtype and about ``BUCKET_BYTES``, the same in every process."""
    groups: list[list[Tensor]] = []
    size = 0
    for parameter in parameters:
        gradient = parameter.grad
        assert gradient is not None
        num_bytes = gradient.numel() * gradient.element_size()
        if not groups or size + num_bytes > BUCKET_BYTES or groups[-1][0].dtype != gradient.dtype:
            groups.append([])
            size = 0
        groups[-1].append(gradient)
        size += num_bytes
    return groups
