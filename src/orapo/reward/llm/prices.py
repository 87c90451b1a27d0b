"""What tokens cost: the user's prices, else litellm's bundled table, else nothing, with one warning."""

import logging
from functools import cached_property
from typing import Annotated

from pydantic import NonNegativeFloat, Strict

from orapo.reward.llm.client import load_litellm
from orapo.settings import checked

log = logging.getLogger(__name__)

_MILLION = 1_000_000

PricePair = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], Strict(False)]
"""US dollars per million tokens in and out; a list will do."""


class Prices:
    """The prices of one model.

    Args:
        model: as litellm names it.
        given: US dollars per million tokens in and out, None to look them up.
        warns: whether to say that a price is unknown; on a machine of the user's own there is none.

    Raises:
        SettingError: a price given is negative.
    """

    @checked
    def __init__(self, model: str, given: PricePair | None, warns: bool) -> None:
        self._model = model
        self._given = given
        self._warns = warns

    @property
    def are_known(self) -> bool:
        """False where nobody said what the model costs; the first look-up imports litellm."""
        return self._per_token is not None

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars; 0 where the prices are unknown."""
        price_in, price_out = self._per_token or (0.0, 0.0)
        return prompt_tokens * price_in + completion_tokens * price_out

    @cached_property
    def _per_token(self) -> tuple[float, float] | None:
        if self._given is not None:
            return self._given[0] / _MILLION, self._given[1] / _MILLION
        found = self._from_table()
        if found is None and self._warns:
            log.warning("judge: the price of %s is unknown, its cost is counted as 0; set prices", self._model)
        return found

    def _from_table(self) -> tuple[float, float] | None:
        try:
            entry = load_litellm().get_model_info(self._model)
        except Exception:  # litellm raises a bare Exception for a model that it doesn't know
            return None
        prices = entry.get("input_cost_per_token") or 0.0, entry.get("output_cost_per_token") or 0.0
        # For names that only resemble a known model, the table answers with zeros.
        return prices if any(prices) else None
