"""How a metric server is reached, which metrics it is asked for, and how their values map to [0, 1]."""

from collections.abc import Mapping
from dataclasses import field

from pydantic import PositiveFloat, PositiveInt

from orapo.errors import SettingError
from orapo.remote.address import is_external
from orapo.remote.cache import CacheMode
from orapo.settings import HttpAddress, settings


@settings
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
        if self.high <= self.low:
            raise SettingError(f"high is {self.high!r}; it must be greater than low, {self.low!r}")

    def to_unit(self, value: float) -> float:
        """The value in [0, 1], 1 the best."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return 1.0 - share if self.lower_is_better else share

    def holds(self, value: float) -> bool:
        """Whether ``value`` is in the metric's range."""
        return self.clip or self.low <= value <= self.high


@settings
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
    api_base: HttpAddress = "http://127.0.0.1:8500"
    batch_size: PositiveInt = 32
    max_concurrent: PositiveInt = 4
    timeout_seconds: PositiveFloat = 600.0
    max_tries: PositiveInt = 8
    deadline_seconds: PositiveFloat = 600.0
    pause_seconds: PositiveFloat = 10.0
    pause_limit_seconds: PositiveFloat = 3600.0
    cache: CacheMode = "read_write"
    cache_path: str | None = None
    allow_external: bool = False
    is_private: bool = True

    def __post_init__(self) -> None:
        if not self.metrics:
            raise SettingError("metrics is empty; name at least one metric of the server")
        if self.pause_limit_seconds < self.pause_seconds:
            raise SettingError(
                f"pause_limit_seconds is {self.pause_limit_seconds!r}; it must be at least pause_seconds, "
                f"{self.pause_seconds!r}"
            )
        self._check_cache()
        if self.is_private and self.cache != "read_only" and is_external(self.api_base) and not self.allow_external:
            raise SettingError(
                f"allow_external is false, and reports about patients' images would go to {self.api_base}: use "
                "a server on this machine, or allow_external=true where the data set's agreement permits it"
            )

    def _check_cache(self) -> None:
        if self.cache != "off" and not self.cache_path:
            raise SettingError(f"cache is {self.cache!r} without cache_path; give one, or set it to 'off'")
        unversioned = [name for name, metric in self.metrics.items() if not metric.version]
        if self.cache == "read_only" and unversioned:
            raise SettingError(
                f"cache is 'read_only' and metrics.{unversioned[0]} has no version; nobody is asked for "
                "it then, so give the one that GET /health names"
            )
