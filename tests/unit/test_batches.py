"""A batch on its way from a process that opens images: the same batch, in one tensor."""

import io
import pickle
from typing import Any

import torch
from tests.conftest import make_study
from torch import Tensor

from orapo.batches import StudyBatch


def batch_of(tensors: tuple[Tensor, ...], features: Any = None) -> StudyBatch:
    inputs = tuple({"pixel_values": tensor, "odd": tensor[:1]} for tensor in tensors)
    ids = tuple(torch.arange(number + 1) for number in range(len(tensors)))
    studies = tuple(make_study(str(number), "No effusion.") for number in range(len(tensors)))
    return StudyBatch(studies, ((), ()), ids, inputs, ids, features)


class Counting(pickle.Pickler):
    """Counts the tensors that it meets."""

    num_tensors = 0

    def reducer_override(self, value: Any) -> Any:
        self.num_tensors += isinstance(value, Tensor)
        return NotImplemented


def test_a_pickled_batch_is_the_same() -> None:
    strange = (torch.rand(3, 5).to(torch.bfloat16), torch.rand(4, 7)[:, ::2], torch.ones(1, 3, dtype=torch.bool))
    for tensors in (strange, (torch.empty(0, 3),), ()):
        for features in (None, tuple((tensor, tensor.double()) for tensor in tensors)):
            batch = batch_of(tensors, features)
            again = pickle.loads(pickle.dumps(batch))
            assert (again.studies, again.messages) == (batch.studies, batch.messages)
            flat = [
                [*each.prompt_ids, *(t for one in each.image_inputs for t in one.values()), *each.oracle_ids]
                + [tensor for one in each.image_features or () for tensor in one]
                for each in (batch, again)
            ]
            assert all(one.dtype == two.dtype and torch.equal(one, two) for one, two in zip(*flat, strict=True))
            assert (again.image_features is None) == (features is None)


def test_a_pickled_batch_holds_one_tensor() -> None:
    pickler = Counting(io.BytesIO())
    pickler.dump(batch_of(tuple(torch.rand(2, 3) for _ in range(50))))
    assert pickler.num_tensors == 1
