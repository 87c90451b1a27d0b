"""How a model behind an API is asked for reports, checked when given; nothing heavy is imported."""

from typing import Literal

from omegaconf import DictConfig
from pydantic import PositiveInt

from orapo.experiment.targets import plain
from orapo.reward.llm.reward import ClientSettings
from orapo.settings import read, settings


@settings
class ApiSettings(ClientSettings):
    """The keys of conf/system/api.yaml, which says what they mean."""

    kind: Literal["api"] = "api"
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    max_pixels: PositiveInt | None = 262_144

    @classmethod
    def read(cls, section: DictConfig) -> "ApiSettings":
        """The section of a config.

        Raises:
            SettingError: an unknown or missing key, or a value out of range.
        """
        return read(cls, plain(section), "system")
