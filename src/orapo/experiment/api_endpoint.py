"""A model behind an API that sees images, called through litellm like the judge."""

import base64
import hashlib
import io
import logging
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

from PIL import Image
from pydantic import BaseModel

from orapo.data.collate import StudyWithImages
from orapo.errors import SettingError
from orapo.experiment.evaluate_config import ApiSettings
from orapo.prompt import Prompt
from orapo.reward.llm.endpoint import Completion, Endpoint
from orapo.reward.llm.prompts import Request
from orapo.settings import settings

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
    """The images and words of one study's prompt; ``subject`` is a digest of the images."""

    num_images: int = 1

    @property
    def private(self) -> tuple[str, ...]:
        """What the prompt tells: of the patient too, with context."""
        parts: list[Any] = [part for message in self.messages for part in message["content"]]
        return tuple(part["text"] for part in parts if part["type"] == "text")

    def corrected(self, reason: str) -> "VisionRequest":
        """The same question: there is no form that a report could have missed."""
        return self


class _FreeText(BaseModel):
    """A report has no schema, so none is sent."""


def vision_request(row: StudyWithImages, prompt: Prompt) -> VisionRequest:
    """The same turn that a local policy is shown, each image as a PNG."""
    encoded = [_png(image) for image in (*row.prior_images, *row.images)]
    urls = iter(f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in encoded)
    messages = prompt.messages(row.study, len(row.images), len(row.prior_images))
    words = "".join(part["text"] for message in messages for part in message["content"] if part["type"] == "text")
    for message in messages:
        message["content"] = [
            {"type": "image_url", "image_url": {"url": next(urls)}} if part["type"] == "image" else part
            for part in message["content"]
        ]
    subject = hashlib.sha256(b"".join(hashlib.sha256(png).digest() for png in encoded)).hexdigest()
    digest = hashlib.sha256(words.encode()).hexdigest()
    return VisionRequest("report", tuple(messages), _FreeText, digest, subject, len(encoded))


@settings
class VisionEndpoint(Endpoint):
    """An endpoint for images; ``reasoning_effort`` is sent where it is not None."""

    reasoning_effort: str | None = None

    @property
    def answer_settings(self) -> dict[str, object]:
        """The settings that a report depends on, for the cache."""
        return super().answer_settings | {"reasoning_effort": self.reasoning_effort}

    def estimate_tokens(self, request: Request) -> tuple[int, int]:
        """An upper estimate of the tokens of a call, in and out."""
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


def open_endpoint(asked: ApiSettings) -> VisionEndpoint:
    """The endpoint of these settings; connects to nothing yet."""
    same = {field.name: getattr(asked, field.name) for field in fields(VisionEndpoint) if hasattr(asked, field.name)}
    return VisionEndpoint(**same, structured_output="none")


def check_privacy(asked: ApiSettings) -> None:
    """Refuses to send patients' images away where that isn't allowed.

    Raises:
        SettingError: it isn't.
    """
    endpoint = open_endpoint(asked)
    if not (asked.is_private and endpoint.is_external) or asked.cache == "read_only":
        return
    where = asked.api_base or asked.model
    if asked.allow_external:
        log.warning("patients' images go to %s, as system.allow_external=true allows", where)
        return
    raise SettingError(
        f"system.allow_external is false, and patients' images would go to {where}: the data sets' agreements forbid "
        "services that keep or review what they are sent. Use a server on this machine (system.api_base, with "
        "system.model=openai/NAME), or system.allow_external=true where your agreement with the provider permits it"
    )


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()
