"""How a vLLM server is reached and trusted; no heavy imports, so that errors come at once."""

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, NonNegativeFloat, PositiveFloat, PositiveInt

from orapo.errors import SettingError
from orapo.policy.settings import SamplingSettings
from orapo.settings import HttpAddress, VariableName, settings


def _ends_in_v1(value: str) -> str:
    if urlsplit(value).path.rstrip("/") != "/v1":
        raise ValueError(f"is {value!r}; it must be like http://HOST:8000/v1")
    return value


@settings
class ServerSettings:
    """A vLLM server that the user has started; docs/vllm.md says how.

    Attributes:
        api_base: its address with the path "/v1".
        model: the name by which it serves the base model; None is model.path.
        api_key_variable: the environment variable that holds its key; None sends none.
        adapter_folder: where adapters, or all weights, are written, on a disk that the server reads; None is the run's
            folder.
        adapter_folder_on_server: the same folder as the server sees it; None where both see it by one path.
        logps: "recomputed" scores each rollout once more by the policy; "server" takes the server's log-probabilities,
            which needs rollout.temperature=1.
        max_concurrent: requests (one a study) under way at once; at least 1.
        timeout_seconds: for one request, > 0; all K completions of a study must be drawn by then.
        pause_limit_seconds: for which a request is tried again before the run pauses, >= 0.
        max_logp_gap: the run pauses when server and policy differ by more than this in a token's log-probability, as
            a mean; > 0; None only logs it.
        allow_external: whether images of patients may be sent to another machine.
    """

    api_base: Annotated[HttpAddress, AfterValidator(_ends_in_v1)]
    model: str | None = None
    api_key_variable: VariableName | None = None
    adapter_folder: str | None = None
    adapter_folder_on_server: str | None = None
    logps: Literal["recomputed", "server"] = "recomputed"
    max_concurrent: PositiveInt = 64
    timeout_seconds: PositiveFloat = 600.0
    pause_limit_seconds: NonNegativeFloat = 600.0
    max_logp_gap: PositiveFloat | None = 0.2
    allow_external: bool = False

    def __post_init__(self) -> None:
        if self.adapter_folder_on_server is not None and self.adapter_folder is None:
            raise SettingError(
                "adapter_folder_on_server is given without adapter_folder; it is the same folder as the server sees it"
            )

    @property
    def is_external(self) -> bool:
        """Whether the server runs on another machine."""
        host = urlsplit(self.api_base).hostname or ""
        try:
            return host != "localhost" and not ipaddress.ip_address(host).is_loopback
        except ValueError:
            return True

    def check(self, sampling: SamplingSettings, is_private: bool) -> None:
        """Checks these settings together with those of the run.

        Raises:
            SettingError: the server's log-probabilities would be of another temperature, or images of patients would
                leave this machine although ``allow_external`` is off.
        """
        if self.logps == "server" and sampling.temperature != 1:
            raise SettingError(
                f"rollout.temperature is {sampling.temperature:g} with rollout.server.logps=server; it must be 1, as "
                "the server's log-probabilities are of temperature 1; or choose rollout.server.logps=recomputed"
            )
        if is_private and self.is_external and not self.allow_external:
            raise SettingError(
                f"rollout.server.allow_external is false, and images of patients would be sent to {self.api_base}; use "
                "a server on this machine, or set it to true for one in your own protected network"
            )
