"""Counts the bytes of tensors that are alive, on any device and for fake tensors, which have sizes but no contents."""

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Of tensors made since it began.

    Attributes:
        now: bytes alive.
        most: bytes that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What comes in without being known was there before.
        self._notice((args, kwargs), is_new=False)
        result = function(*args, **(kwargs or {}))
        self._notice(result, is_new=True)
        return result

    def _notice(self, tensors: Any, is_new: bool) -> None:
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self._known:
                storage = tensor.untyped_storage()
                self._count(storage, storage.nbytes() if is_new else 0)

    def _count(self, storage: Any, size: int) -> None:
        key = storage._cdata
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
