"""A model behind an API that is shown images: the judge's way of calling litellm, with pictures."""

import base64
import hashlib
import io
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image
from pydantic import BaseModel

from orapo.errors import SettingError
from orapo.experiment.api_settings import ApiSettings
from orapo.prompt import chat_messages
from orapo.reward.llm.endpoint import Completion, Endpoint
from orapo.reward.llm.prompts import Request

log = logging.getLogger(__name__)

IMAGE_TOKENS = 2000
"""Of one image, for estimates before a call: more than most providers count."""

_CHARACTERS_PER_TOKEN = 3


@dataclass(frozen=True, slots=True)
class TimedCompletion(Completion):
    """A completion and the seconds that it took, waiting for a free slot left out."""

    seconds: float = 0.0


@dataclass(frozen=True)
class VisionRequest(Request):
    """The study's images and the instruction; ``subject`` is a digest of the images.

    Attributes:
        num_images: of the study.
    """

    num_images: int = 1


class _FreeText(BaseModel):
    """A report has no schema; nothing is asked for."""


def vision_request(images: Sequence[Image.Image], instruction: str) -> VisionRequest:
    """The same turn that a local policy is shown, each image as a PNG."""
    encoded = [_png(image) for image in images]
    urls = iter(f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in encoded)
    messages: list[dict[str, Any]] = chat_messages(len(images), instruction)
    for message in messages:
        message["content"] = [
            {"type": "image_url", "image_url": {"url": next(urls)}} if part["type"] == "image" else part
            for part in message["content"]
        ]
    subject = hashlib.sha256(b"".join(hashlib.sha256(png).digest() for png in encoded)).hexdigest()
    digest = hashlib.sha256(instruction.encode()).hexdigest()
    return VisionRequest("report", tuple(messages), _FreeText, digest, subject, len(images))


@dataclass(frozen=True)
class VisionEndpoint(Endpoint):
    """An endpoint for images.

    Args:
        reasoning_effort: sent where it is not None.
    """

    reasoning_effort: str | None = None

    @property
    def answer_settings(self) -> dict[str, object]:
        """The settings that a report depends on."""
        return super().answer_settings | {"reasoning_effort": self.reasoning_effort}

    def estimate_tokens(self, request: Request) -> tuple[int, int]:
        """The most tokens, in and out, that a call is likely to take."""
        assert isinstance(request, VisionRequest)
        parts: list[Any] = [part for message in request.messages for part in message["content"]]
        characters = sum(len(part.get("text", "")) for part in parts)
        tokens = characters // _CHARACTERS_PER_TOKEN + 1 + request.num_images * IMAGE_TOKENS
        return tokens, self.max_output_tokens

    async def complete(self, request: Request) -> TimedCompletion:
        """One call, never repeated here; raises CallError."""
        began = time.perf_counter()
        completion = await super().complete(request)
        return TimedCompletion(**asdict(completion), seconds=time.perf_counter() - began)

    def _arguments(self, request: Request, key: str | None) -> dict[str, Any]:
        arguments = super()._arguments(request, key)
        if self.reasoning_effort is not None:
            arguments["reasoning_effort"] = self.reasoning_effort
            if self.api_base is not None:
                # litellm doesn't know what an own server's model takes, and would refuse it unasked.
                arguments["allowed_openai_params"] = ["reasoning_effort"]
        return arguments


def open_endpoint(settings: ApiSettings) -> VisionEndpoint:
    """The endpoint of these settings; nothing is opened yet.

    Raises:
        SettingError: a value that only an endpoint checks, such as its address.
    """
    try:
        return VisionEndpoint(
            settings.model,
            api_base=settings.api_base,
            api_key_variable=settings.api_key_variable,
            temperature=settings.temperature,
            max_output_tokens=settings.max_output_tokens,
            timeout_seconds=settings.timeout_seconds,
            structured_output="none",
            prices=None if settings.prices is None else (settings.prices[0], settings.prices[1]),
            identity=settings.identity,
            reasoning_effort=settings.reasoning_effort,
        )
    except SettingError as error:
        raise of_the_policy(error) from None


def of_the_policy(error: SettingError) -> SettingError:
    """An error of the judge's parts, under the keys of the model behind an API."""
    return SettingError(str(error).replace("judge: ", "system.", 1))


def check_privacy(settings: ApiSettings) -> None:
    """Refuses to send patients' images away where that isn't allowed.

    Raises:
        SettingError: it isn't, or the address is none.
    """
    endpoint = open_endpoint(settings)
    if not (settings.is_private and endpoint.is_external) or settings.cache == "read_only":
        return
    where = settings.api_base or settings.model
    if settings.allow_external:
        log.warning("patients' images go to %s, as system.allow_external=true allows", where)
        return
    raise SettingError(
        f"system.allow_external is false, and patients' images would go to {where}: the data sets' agreements forbid "
        "services that keep or review what they are sent. Use a server on this machine (system.api_base), or "
        "system.allow_external=true where your agreement with the provider permits it"
    )


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()
