"""The same seed gives the same bytes: gradients do not depend on which of several threads arrives first."""

from collections.abc import Iterator

import pytest
import torch

from orapo.policy.packing import take

NUM_TAKEN = 4_000


@pytest.fixture
def several_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def gradient_bytes(times: int, *, by_indexing: bool = False) -> set[bytes]:
    """Of values that are taken a hundred times each, in every so many passes."""
    values = torch.randn(40, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    index = torch.arange(NUM_TAKEN) % 40
    weights = torch.randn(NUM_TAKEN, 64, generator=torch.Generator().manual_seed(1))
    found = set()
    for _ in range(times):
        values.grad = None
        ((values[index] if by_indexing else take(values, index)) * weights).sum().backward()
        assert values.grad is not None
        found.add(values.grad.numpy().tobytes())
    return found


def test_what_is_taken_often_has_one_gradient(several_threads: None) -> None:
    assert len(gradient_bytes(40)) == 1


def test_it_takes_what_indexing_takes(several_threads: None) -> None:
    values, index = torch.randn(5, 3), torch.tensor([4, 0, 0, 2])
    assert torch.equal(take(values, index), values[index])
    torch.set_num_threads(1)
    (by_indexing,), (taken,) = gradient_bytes(1, by_indexing=True), gradient_bytes(1)
    assert by_indexing == taken
