"""How a model behind an API is asked for reports, checked when given; nothing heavy is imported."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from orapo.bounds import require_boolean, require_number, require_whole
from orapo.errors import SettingError
from orapo.experiment.config import plain, settings_from

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
CACHES = ("read_write", "read_only", "off")


@dataclass(frozen=True)
class ApiSettings:
    """The keys of conf/system/api.yaml, which says what they mean."""

    model: str
    api_base: str | None
    api_key_variable: str | None
    identity: str
    reasoning_effort: str | None
    temperature: float | None
    max_output_tokens: int
    prices: Sequence[float] | None
    max_concurrent: int
    requests_per_minute: float | None
    tokens_per_minute: float | None
    timeout_seconds: float
    max_tries: int
    deadline_seconds: float
    max_cost: float | None
    cache: str
    cache_path: str
    allow_external: bool
    is_private: bool

    def __post_init__(self) -> None:
        for key in ("allow_external", "is_private"):
            require_boolean(f"system.{key}", getattr(self, key))
        if self.reasoning_effort is not None and self.reasoning_effort not in EFFORTS:
            allowed = ", ".join(EFFORTS)
            raise SettingError(f"system.reasoning_effort is {self.reasoning_effort!r}; allowed: null, {allowed}")
        if self.cache not in CACHES:
            raise SettingError(f"system.cache is {self.cache!r}; allowed: {', '.join(CACHES)}")
        if self.prices is not None and len(self.prices) != 2:
            raise SettingError(f"system.prices is {list(self.prices)}; it must be two, per million tokens in and out")
        for key in ("max_output_tokens", "max_concurrent", "max_tries"):
            require_whole(f"system.{key}", getattr(self, key), 1)
        for key in ("timeout_seconds", "deadline_seconds"):
            require_number(f"system.{key}", getattr(self, key), above=0)
        if self.temperature is not None:
            require_number("system.temperature", self.temperature, at_least=0)
        if self.max_cost is not None:
            require_number("system.max_cost", self.max_cost, above=0)

    @classmethod
    def read(cls, section: DictConfig) -> "ApiSettings":
        """The section of a config.

        Raises:
            SettingError: an unknown or missing key, or a value out of range.
        """
        content = {key: value for key, value in plain(section).items() if key != "kind"}
        return settings_from(cls, content, "system")
