"""How a metric server is reached, which metrics it is asked for, and how their values map to [0, 1]."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from orapo.bounds import require_boolean, require_number, require_whole
from orapo.errors import SettingError
from orapo.remote.address import is_external, require_address
from orapo.remote.cache import CacheMode


@dataclass(frozen=True, slots=True)
class ServedMetric:
    """What is declared about one metric's values.

    Attributes:
        low: the lowest value.
        high: the highest value, above ``low``.
        lower_is_better: True for an error or a distance.
        clip: True for a metric without bounds: values beyond ``low`` and ``high`` count as these; False refuses them.
        version: that the server must name for it; "" takes any. A cache that is only read needs it.

    Raises:
        SettingError: a value out of range.
    """

    low: float = 0.0
    high: float = 1.0
    lower_is_better: bool = False
    clip: bool = False
    version: str = ""

    def __post_init__(self) -> None:
        require_number("served.metrics: low", self.low)
        require_number("served.metrics: high", self.high, above=self.low)
        require_boolean("served.metrics: lower_is_better", self.lower_is_better)
        require_boolean("served.metrics: clip", self.clip)

    def to_unit(self, value: float) -> float:
        """The value in [0, 1], 1 the best."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return 1.0 - share if self.lower_is_better else share

    def holds(self, value: float) -> bool:
        """Whether it may be this metric's value."""
        return self.clip or self.low <= value <= self.high


@dataclass(frozen=True)
class ServedSettings:
    """A metric server that the user has started; docs/metric_server.md says how.

    Attributes:
        metrics: by the server's names, at least one.
        api_base: its address.
        batch_size: pairs in one call, at least 1.
        max_concurrent: calls under way at once, at least 1.
        timeout_seconds: of one call, above 0.
        max_tries: of one call, at least 1.
        deadline_seconds: of one call with all its tries, above 0.
        pause_seconds: the first pause where no try was answered, above 0; each further one is twice as long.
        pause_limit_seconds: of all pauses, before the run stops, at least ``pause_seconds``.
        cache: "read_write"; "read_only" asks nobody; "off".
        cache_path: of the SQLite file, on a local disk; None only with ``cache`` "off". It holds values and hashes, no
            text.
        allow_external: whether reports on private data may leave this machine.
        is_private: whether the reports are about patients' images.

    Raises:
        SettingError: a value out of range, or private data would leave this machine unallowed.
    """

    metrics: Mapping[str, ServedMetric] = field(default_factory=dict)
    api_base: str = "http://127.0.0.1:8500"
    batch_size: int = 32
    max_concurrent: int = 4
    timeout_seconds: float = 600.0
    max_tries: int = 8
    deadline_seconds: float = 600.0
    pause_seconds: float = 10.0
    pause_limit_seconds: float = 3600.0
    cache: CacheMode = "read_write"
    cache_path: str | None = None
    allow_external: bool = False
    is_private: bool = True

    def __post_init__(self) -> None:
        if not self.metrics:
            raise SettingError("served.metrics is empty; name at least one metric of the server")
        require_address("served.api_base", self.api_base)
        for name in ("batch_size", "max_concurrent", "max_tries"):
            require_whole(f"served.{name}", getattr(self, name), at_least=1)
        for name in ("timeout_seconds", "deadline_seconds", "pause_seconds"):
            require_number(f"served.{name}", getattr(self, name), above=0.0)
        require_number("served.pause_limit_seconds", self.pause_limit_seconds, at_least=self.pause_seconds)
        require_boolean("served.allow_external", self.allow_external)
        require_boolean("served.is_private", self.is_private)
        self._check_cache()
        if self.is_private and self.cache != "read_only" and is_external(self.api_base) and not self.allow_external:
            raise SettingError(
                f"served.allow_external is false, and reports about patients' images would go to {self.api_base}: use "
                "a server on this machine, or served.allow_external=true where the data set's agreement permits it"
            )

    def _check_cache(self) -> None:
        if self.cache not in get_args(CacheMode):
            raise SettingError(f"served.cache is {self.cache!r}; allowed: {', '.join(get_args(CacheMode))}")
        if self.cache != "off" and not self.cache_path:
            raise SettingError(
                f"served.cache is {self.cache!r} without served.cache_path; give one, or set it to 'off'"
            )
        unversioned = [name for name, metric in self.metrics.items() if not metric.version]
        if self.cache == "read_only" and unversioned:
            raise SettingError(
                f"served.cache is 'read_only' and served.metrics.{unversioned[0]} has no version; nobody is asked for "
                "it then, so give the one that GET /health names"
            )
