"""The litellm module, imported late and quietly: it takes seconds, and only the calls themselves need it."""

import asyncio
import logging
import os
import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

from orapo.reward.llm.plain_http import PlainClient

_SECONDS_TO_IMPORT = 60.0

_importing = threading.Lock()


def load_litellm() -> Any:
    """The module, imported by the first call; it neither calls out nor reads ``.env`` files nor prints advice."""
    with _importing:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
        import litellm

        litellm.suppress_debug_info = True
        litellm.telemetry = False
        if not isinstance(litellm.aclient_session, PlainClient):
            litellm.aclient_session = PlainClient()
        # Its own log lines can hold addresses, headers and prompts.
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
        return litellm


def import_what_draws_random_numbers() -> None:
    """Imports in the caller's thread what litellm would import in another one, and puts Python's generator back.

    Importing ``rich.style`` draws from Python's global generator. In the thread of the calls that would fall between
    two draws of the training.
    """
    state = random.getstate()
    import rich.style  # noqa: F401

    random.setstate(state)


@lru_cache
def first_call(provider: str) -> "FirstCall":
    """The gate of one provider ("openai"), the same for the whole process."""
    return FirstCall()


class FirstCall:
    """Lets the first call of a provider go alone.

    litellm imports hundreds of modules in it, for seconds in which every other call would time out.
    """

    def __init__(self) -> None:
        self._alone = asyncio.Lock()
        self._is_over = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Waits for the first call, or is it; gives the seconds to grant on top of a timeout."""
        if not self._is_over:
            async with self._alone:
                if not self._is_over:
                    try:
                        yield _SECONDS_TO_IMPORT
                    finally:
                        self._is_over = True
                    return
        yield 0.0
