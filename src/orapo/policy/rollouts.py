"""Sampling K completions per study over one image encoding and one prefill of its prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.policy.decoding import Decoder
from orapo.policy.sampling import sample_tokens, uniform_numbers
from orapo.policy.settings import SamplingSettings

_KEPT_FRACTION = 7 / 8
"""Rows that have ended leave once this fraction or less must stay: leaving moves the keys of those that stay."""


@dataclass(frozen=True)
class StopRules:
    """Which tokens end a completion and which are never sampled.

    Attributes:
        stop_ids: [number of stop tokens], int64.
        banned: [V], bool: image placeholders and other control tokens, which would break the next scoring pass.
    """

    stop_ids: Tensor
    banned: Tensor


Completion = tuple[Tensor, Tensor, bool]
"""Token ids [T] int64, log-probabilities [T] float32 (of the model at the sampling temperature over the whole
vocabulary), and whether a stop token ended it."""


@torch.no_grad()
def sample_completions(
    decoding: type[Decoder],
    model: Any,
    batch: StudyBatch,
    settings: SamplingSettings,
    rules: StopRules,
    seeds: Sequence[int] | None = None,
) -> list[Completion]:
    """Samples K = ``settings.per_study`` completions for each of B studies.

    Args:
        decoding: how the model continues its rollouts.
        model: in eval mode.
        batch: B studies.
        settings: how tokens are drawn.
        rules: which tokens end a completion or are never drawn.
        seeds: B numbers that fix each study's samples, whatever the other studies; None: torch's generator.

    Returns:
        B * K completions in order of study.
    """
    num_steps, per_study = settings.max_new_tokens, settings.per_study
    uniform = uniform_numbers(num_steps, len(batch), per_study, seeds, batch.device)
    drawn: dict[int, Completion] = {}
    for places in decoding.together(batch):
        rows = [place * per_study + k for place in places for k in range(per_study)]
        decoder = decoding(model, batch.select(places), per_study, num_steps)
        drawn.update(zip(rows, _sample(decoder, uniform[:, rows], settings, rules), strict=True))
    return [drawn[row] for row in range(len(batch) * per_study)]


def _sample(decoder: Decoder, uniform: Tensor, settings: SamplingSettings, rules: StopRules) -> list[Completion]:
    """One completion for each column of ``uniform`` [steps, B * K]."""
    (num_steps, num_rows), per_study = uniform.shape, settings.per_study
    logits = decoder.first_logits.repeat_interleave(per_study, dim=0)
    is_stop = torch.zeros_like(rules.banned)
    is_stop[rules.stop_ids] = True
    banned_at_first = rules.banned | is_stop
    # Present rows by their number among all B * K, equally many of each present study, and which of them continue.
    rows = torch.arange(num_rows, device=logits.device)
    continues = torch.ones_like(rows, dtype=torch.bool)
    finished = torch.zeros_like(continues)
    drawn: list[tuple[Tensor, Tensor, Tensor]] = []
    for step in range(num_steps):
        banned = banned_at_first if step < settings.min_new_tokens else rules.banned
        tokens, logps = sample_tokens(logits, banned, uniform[step, rows], settings)
        drawn.append((rows[continues], tokens[continues], logps[continues]))
        stops = is_stop[tokens] & continues
        finished[rows[stops]] = True
        continues &= ~stops
        if step + 1 == num_steps or not bool(continues.any()):
            break
        if decoder.rows_can_leave:
            studies, staying = _staying(continues.view(-1, per_study))
            if len(staying) <= len(rows) * _KEPT_FRACTION:
                decoder.keep(studies, staying)
                rows, tokens, continues = rows[staying], tokens[staying], continues[staying]
                per_study = len(staying) // len(studies)
        logits = decoder.step(tokens)
    return _collect(drawn, finished)


def _staying(continues: Tensor) -> tuple[Tensor, Tensor]:
    """The studies [B'] with a row that continues, and rows [B' * K'] that include all such rows.

    The study with most such rows sets K'; the others are filled with rows that have ended, which are not read.
    """
    studies = continues.any(dim=1).nonzero().squeeze(1)
    counts = continues[studies].sum(dim=1)
    order = (~continues[studies]).int().argsort(dim=1, stable=True)[:, : int(counts.max())]
    return studies, (studies.unsqueeze(1) * continues.shape[1] + order).flatten()


def _collect(drawn: list[tuple[Tensor, Tensor, Tensor]], finished: Tensor) -> list[Completion]:
    """Regroups tokens by step into tokens by row."""
    rows = torch.cat([active for active, _, _ in drawn])
    # Stable: within a row the tokens stay in the order in which they were drawn.
    order = torch.argsort(rows, stable=True)
    counts = torch.bincount(rows, minlength=len(finished)).tolist()
    token_ids = torch.split(torch.cat([tokens for _, tokens, _ in drawn])[order], counts)
    logps = torch.split(torch.cat([values for _, _, values in drawn])[order], counts)
    return list(zip(token_ids, logps, finished.tolist(), strict=True))
