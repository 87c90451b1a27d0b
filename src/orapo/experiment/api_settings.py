"""How a model behind an API is asked for reports, checked when given; nothing heavy is imported."""

from typing import Literal

from omegaconf import DictConfig
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from orapo.experiment.targets import plain
from orapo.remote.cache import CacheMode
from orapo.reward.llm.limits import RateLimit
from orapo.reward.llm.prices import PricePair
from orapo.settings import HttpAddress, Text, VariableName, read, settings


@settings
class ApiSettings:
    """The keys of conf/system/api.yaml, which says what they mean."""

    kind: Literal["api"]
    model: Text
    api_base: HttpAddress | None
    api_key_variable: VariableName | None
    identity: str
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None
    temperature: NonNegativeFloat | None
    max_output_tokens: PositiveInt
    prices: PricePair | None
    max_concurrent: PositiveInt
    requests_per_minute: RateLimit | None
    tokens_per_minute: RateLimit | None
    timeout_seconds: PositiveFloat
    max_tries: PositiveInt
    deadline_seconds: PositiveFloat
    max_cost: PositiveFloat | None
    cache: CacheMode
    cache_path: Text
    allow_external: bool
    is_private: bool

    @classmethod
    def read(cls, section: DictConfig) -> "ApiSettings":
        """The section of a config.

        Raises:
            SettingError: an unknown or missing key, or a value out of range.
        """
        return read(cls, plain(section), "system")
