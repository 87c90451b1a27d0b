"""The term that a metric server computes: RadGraph, CheXbert and others in docs/metric_server.md."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from pydantic import PositiveFloat

from orapo.empty_reports import says_nothing
from orapo.errors import SettingError
from orapo.measures.served import PendingMetrics, ServedMetrics, ServedSettings
from orapo.reward.terms.registry import PendingValues, Written, register
from orapo.settings import settings


@register("served")
@settings
class Served(ServedSettings):
    """The weighted mean of a server's metrics, each mapped to [0, 1] as it is declared.

    Undefined where the oracle report says nothing; 0 for a generated report that says nothing, which nobody is asked
    about. The server scores while the judge reads.

    Attributes:
        weights: of the metrics, above 0, as many as there are; None weighs all alike.

    Raises:
        SettingError: see ``ServedSettings``; a metric without a weight, or a weight without a metric.
    """

    zero_at_most: ClassVar[float | None] = None
    needs_judge: ClassVar[bool] = False

    weights: Mapping[str, PositiveFloat] | None = None

    def __post_init__(self) -> None:
        ServedSettings.__post_init__(self)
        if self.weights is not None and self.weights.keys() != self.metrics.keys():
            raise SettingError(f"weights is of {', '.join(self.weights)}; it must be of {', '.join(self.metrics)}")

    @cached_property
    def client(self) -> ServedMetrics:
        """Connects to nothing until it is used."""
        return ServedMetrics(self)

    def start(self, written: Written) -> PendingValues:
        """Sends the reports that can be scored."""
        pairs = [
            (study.oracle_report, report)
            for report, study in zip(written.reports, written.studies, strict=True)
            if not says_nothing(study.oracle_report) and not says_nothing(report)
        ]
        refs, hyps = zip(*pairs, strict=True) if pairs else ((), ())
        return _Values(self, written, self.client.start(refs, hyps) if pairs else None)

    def combined(self, values: Mapping[str, float]) -> float:
        """One report's value in [0, 1], from its metrics."""
        weights = self.weights or dict.fromkeys(self.metrics, 1.0)
        whole = math.fsum(weights.values())
        mean = math.fsum(weights[name] / whole * self.metrics[name].to_unit(value) for name, value in values.items())
        return min(1.0, mean)

    def totals(self) -> Mapping[str, float]:
        """The server's totals, each name prefixed with ``served_``."""
        return {f"served_{name}": value for name, value in self.client.totals().items()}

    def state_dict(self) -> dict[str, Any]:
        """Empty: the cache holds all answers."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Values:
    term: Served
    written: Written
    pending: PendingMetrics | None

    def result(self) -> Sequence[float | None]:
        """Waits for the server."""
        found = {} if self.pending is None else self.pending.result()
        rows = iter([dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)])
        values: list[float | None] = []
        for report, study in zip(self.written.reports, self.written.studies, strict=True):
            if says_nothing(study.oracle_report):
                values.append(None)
            else:
                values.append(0.0 if says_nothing(report) else self.term.combined(next(rows)))
        return values
