"""Which part of a batch or split belongs to one of several processes that train together."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """One process of ``size``; alone by default.

    Attributes:
        rank: from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    def of(self, total: int) -> range:
        """The places, out of ``total``, that this process works on.

        The shards of all ranks, concatenated, are all places in order; their sizes differ by one at most.
        """
        return range(self.rank * total // self.size, (self.rank + 1) * total // self.size)

    def sizes(self, total: int) -> list[int]:
        """How many of ``total`` each process gets."""
        return [len(Shard(rank, self.size).of(total)) for rank in range(self.size)]
