"""A data loader whose order depends on seed and position alone, so that a resumed run sees the same batches."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from orapo.batches import StudyBatch
from orapo.data.shard import Shard


class StreamBatches(Sampler[list[int]]):
    """Batches cut from one endless stream of shuffled passes over the studies.

    No study is left out at the end of a pass: a batch may close one pass and open the next. Of several processes each
    gets its shard of every batch, and all of them together the batches that one process would get.
    """

    def __init__(
        self, num_studies: int, batch_size: int, num_batches: int, seed: int, shard: Shard | None = None
    ) -> None:
        """Settings are checked by the data module.

        Args:
            num_studies: at least 1.
            batch_size: studies per batch, over all processes.
            num_batches: batches until the stream ends.
            seed: of the shuffles.
            shard: which part of each batch is served here; None serves all of it.
        """
        self._num_studies = num_studies
        self._batch_size = batch_size
        self._num_batches = num_batches
        self._seed = seed
        self._own = (shard or Shard()).of(batch_size)
        self.first_batch = 0

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[list[int]]:
        order: dict[int, list[int]] = {}
        for batch in range(self.first_batch, self._num_batches):
            indices = []
            for place in range(batch * self._batch_size, (batch + 1) * self._batch_size):
                pass_index, position = divmod(place, self._num_studies)
                if pass_index not in order:
                    order = {pass_index: self._shuffled(pass_index)}
                indices.append(order[pass_index][position])
            yield indices[self._own.start : self._own.stop]

    def _shuffled(self, pass_index: int) -> list[int]:
        # A generator of its own: the order owes nothing to what else has drawn random numbers.
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + pass_index)
        return torch.randperm(self._num_studies, generator=generator).tolist()


class ResumableLoader(DataLoader[StudyBatch]):
    """A ``DataLoader`` over ``StreamBatches`` that counts the batches it has returned.

    Attributes:
        upcoming: the batch after the latest returned one, where it looks ahead; None at the end.
    """

    def __init__(self, dataset: Any, batches: StreamBatches, *, looks_ahead: bool = False, **options: Any) -> None:
        super().__init__(dataset, batch_sampler=batches, **options)
        self._batches = batches
        self._looks_ahead = looks_ahead
        self._num_handed_out = 0
        self.upcoming: StudyBatch | None = None

    def __iter__(self) -> Iterator[StudyBatch]:  # type: ignore[override]
        self._num_handed_out = self._batches.first_batch
        batches = super().__iter__()
        batch = next(batches, None)
        while batch is not None:
            self.upcoming = next(batches, None) if self._looks_ahead else None
            self._num_handed_out += 1
            yield batch
            batch = self.upcoming if self._looks_ahead else next(batches, None)
        self._batches.first_batch = 0

    def take_back(self) -> None:
        """Counts the latest batch as not returned: its step did not end."""
        self._num_handed_out -= 1

    def state_dict(self) -> dict[str, int]:
        """The number of batches already returned; Lightning stores it in the checkpoint."""
        return {"num_handed_out": self._num_handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues after the batches already returned."""
        self._batches.first_batch = state["num_handed_out"]
