"""Reports for held-out studies, written by validation, by a run's tests and by evaluate.py."""

import logging
from contextlib import ExitStack
from datetime import timedelta
from typing import NamedTuple

import torch

from orapo.batches import StudyBatch
from orapo.evaluation.report_pairs import Written
from orapo.policy.model import Policy
from orapo.policy.rollout_source import RolloutSource
from orapo.policy.settings import SamplingSettings
from orapo.training.distributed import Ranks
from orapo.training.metrics import Stopwatch
from orapo.training.sharding import unsharded

log = logging.getLogger(__name__)

CUT_OFF = "cut_off_reports"

_TOLD_FROM_SECONDS = 5.0
"""An examination that is over sooner is not announced."""


class _Report(NamedTuple):
    text: str
    seconds: float
    is_finished: bool


class HeldOutReports:
    """Generates one report per study, greedily; estimates the total time after the first batch.

    On a GPU it also logs the batch's peak memory, which shows whether more studies at a time would fit.
    """

    def __init__(self, policy: Policy, source: RolloutSource, sampling: SamplingSettings, ranks: Ranks) -> None:
        """Generates nothing yet.

        Args:
            policy: what the source samples from; its weights may be sharded across the processes.
            source: of reports.
            sampling: greedy, one report a study.
            ranks: the processes, each of which generates for its share.
        """
        self._policy = policy
        self._source = source
        self._greedy = sampling
        self._ranks = ranks
        self._unsharded = ExitStack()
        self._reports: list[dict[str, _Report]] = []
        self._num_reports: int | None = None

    def begin(self, num_reports: int) -> None:
        """Forgets the last evaluation.

        Args:
            num_reports: that this process will generate for all loaders together.
        """
        self._reports, self._num_reports = [], num_reports
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._unsharded = ExitStack()
        self._unsharded.enter_context(unsharded(self._policy, self._ranks))

    def generate(self, batch: StudyBatch, loader: int) -> None:
        """Generates for a batch of this loader; loaders are numbered from 0 and come in order."""
        if loader == len(self._reports):
            self._reports.append({})
        watch = Stopwatch()
        with watch.phase("generate"):
            groups = self._source.roll_out(batch, self._greedy)
        each = watch.seconds["generate"] / len(batch)
        self._tell(each, len(batch))
        for study, group in zip(batch.studies, groups, strict=True):
            # Processes work beside each other: a report takes its share of their time.
            seconds = each / self._ranks.shard.size
            self._reports[loader][study.study_id] = _Report(group.texts[0], seconds, group.finished[0])

    def end(self) -> list[Written]:
        """The reports of all processes, per loader: each study once, in the order of the split."""
        self._unsharded.close()
        everyone = self._ranks.all_gather(lambda: self._reports)
        written = []
        for loader in range(len(self._reports)):
            found: dict[str, _Report] = {}
            for collected in everyone:
                for study_id, report in collected[loader].items():
                    # A process without studies has generated for the first one, which another one or itself holds.
                    found.setdefault(study_id, report)
            texts, seconds, finished = zip(*found.values(), strict=True)
            written.append(Written(texts, seconds, counts={CUT_OFF: finished.count(False)}))
        return written

    def _tell(self, seconds_per_report: float, num_reports: int) -> None:
        """Logs the estimate, once per evaluation."""
        total, self._num_reports = self._num_reports, None
        if total is not None and self._ranks.is_first and total * seconds_per_report > _TOLD_FROM_SECONDS:
            log.info(
                "%.2f s a report in the first batch of %d%s; about %s for all %s",
                seconds_per_report,
                num_reports,
                self._memory(),
                timedelta(seconds=round(total * seconds_per_report)),
                f"{total:,}",
            )

    @property
    def _device(self) -> torch.device:
        return next(self._policy.parameters()).device

    def _memory(self) -> str:
        if self._device.type != "cuda":
            return ""
        most, total = torch.cuda.max_memory_reserved(self._device), torch.cuda.mem_get_info(self._device)[1]
        return f", with at most {most / 1e9:.1f} of {total / 1e9:.1f} GB"
