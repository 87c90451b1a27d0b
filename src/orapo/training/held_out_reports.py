"""Reports generated for held-out studies, in validation and test."""

from contextlib import ExitStack
from dataclasses import dataclass, replace

from orapo.batches import StudyBatch
from orapo.evaluation.report_pairs import ReportLabeler, ReportPair, pair_reports
from orapo.policy.model import Policy
from orapo.policy.rollout_source import RolloutSource
from orapo.policy.settings import SamplingSettings
from orapo.training.distributed import Ranks
from orapo.training.metrics import Stopwatch
from orapo.training.sharding import unsharded


@dataclass(frozen=True)
class Generated:
    """Reports generated for one evaluation loader.

    Attributes:
        pairs: one per study, in order.
        seconds: spent generating.
    """

    pairs: tuple[ReportPair, ...]
    seconds: float

    @property
    def seconds_per_study(self) -> float:
        """Seconds of generation per study."""
        return self.seconds / len(self.pairs)


class HeldOutReports:
    """Generates one report per study, greedily, and pairs it with the radiologist's."""

    def __init__(
        self,
        policy: Policy,
        source: RolloutSource,
        labeler: ReportLabeler,
        sampling: SamplingSettings,
        ranks: Ranks,
    ) -> None:
        """Joins the parts.

        Args:
            policy: what the source samples from; its weights may be shared out among the processes.
            source: of reports.
            labeler: reads the generated reports; never the reward's judge.
            sampling: as in training; here greedy and once a study.
            ranks: the processes, each of which generates for its share.
        """
        self._policy = policy
        self._source = source
        self._labeler = labeler
        self._greedy = replace(sampling, per_study=1, greedy=True)
        self._ranks = ranks
        self._unsharded = ExitStack()
        self._pairs: list[list[ReportPair]] = []
        self._seconds: list[float] = []

    def begin(self) -> None:
        """Forgets the last evaluation."""
        self._pairs, self._seconds = [], []
        self._unsharded = ExitStack()
        self._unsharded.enter_context(unsharded(self._policy, self._ranks))

    def generate(self, batch: StudyBatch, loader: int) -> None:
        """Generates for a batch of this loader; loaders come one after another, from 0."""
        if loader == len(self._pairs):
            self._pairs.append([])
            self._seconds.append(0.0)
        watch = Stopwatch()
        with watch.phase("generate"):
            groups = self._source.roll_out(batch, self._greedy)
        self._seconds[loader] += watch.seconds["generate"]
        reports = [group.texts[0] for group in groups]
        self._pairs[loader].extend(pair_reports(batch.studies, reports, self._labeler))

    def end(self) -> list[Generated]:
        """What was generated in all processes, per loader, each study once and in the order of the split."""
        self._unsharded.close()
        everyone = self._ranks.all_gather(lambda: (self._pairs, self._seconds))
        generated = []
        for loader in range(len(self._pairs)):
            pairs: dict[str, ReportPair] = {}
            for collected, _ in everyone:
                for pair in collected[loader]:
                    # A process without studies has generated for the first one, which another one or itself holds.
                    pairs.setdefault(pair.study_id, pair)
            generated.append(Generated(tuple(pairs.values()), max(seconds[loader] for _, seconds in everyone)))
        return generated
