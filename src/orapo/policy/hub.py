"""Names on the Hugging Face hub, and what to do without a connection."""

import logging
from functools import cache
from pathlib import Path

import httpx
from huggingface_hub import constants, get_session

log = logging.getLogger(__name__)

_SECONDS = 5.0
"""For the hub to answer once; without this, every file would be asked for several times over minutes."""


def is_hub_name(path: str) -> bool:
    """Whether ``path`` has the form owner/name and is no folder; any other missing path was meant as a folder."""
    return path.count("/") == 1 and not path.startswith((".", "/", "~")) and not Path(path).exists()


@cache
def stay_offline_without_hub() -> None:
    """Asks the hub once; if it does not answer, this process loads only cached files."""
    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    except httpx.TransportError:
        constants.HF_HUB_OFFLINE = True
        log.warning("%s does not answer: only cached models can be loaded", constants.ENDPOINT)
