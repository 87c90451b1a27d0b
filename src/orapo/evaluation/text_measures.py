"""Text measures as sums over studies, for intervals and paired tests; nothing is downloaded.

Overlap is computed on lower-cased letters and digits, over the studies whose oracle report says something. BLEU and
chrF are ratios of added counts, so that their counts are kept per study to resample them.
"""

from collections.abc import Sequence

import numpy as np

from orapo.errors import DataError
from orapo.evaluation.resampling import Array, Measures, mean_of_defined, ratio_of_sums
from orapo.measures.attributes import attribute_agreement
from orapo.measures.cider import cider_d
from orapo.measures.overlap import BLEU_COUNTS, bleu, bleu_counts, chrf_counts, chrf_orders
from orapo.measures.rouge import ROUGE, rouge_scores
from orapo.measures.words import normalised, repetition

OVERLAP = (*ROUGE, "bleu_4", "chrf", "cider_d")
"""Measures that need an oracle report."""


def length_measures(generated_reports: Sequence[str]) -> Measures:
    """``mean_words``, split at white space, ``repetition`` and ``empty_report_fraction``, of N generated reports."""
    rows = [[len(report.split()), repetition(report), normalised(report) == "", 1] for report in generated_reports]
    names = ("mean_words", "repetition", "empty_report_fraction")

    def from_sums(sums: Array) -> dict[str, Array]:
        return {name: sums[:, place] / sums[:, -1] for place, name in enumerate(names)}

    return Measures(np.array(rows, dtype=np.float64), from_sums, {})


def attribute_measures(generated_reports: Sequence[str], oracle_reports: Sequence[str]) -> Measures:
    """``attribute_f1``: the mean over the studies whose oracle report states an attribute, of N generated reports.

    Raises:
        DataError: different lengths, or no oracle report states one.
    """
    scores = [attribute_agreement(*pair).f1 for pair in zip(generated_reports, oracle_reports, strict=True)]
    if all(score is None for score in scores):
        raise DataError(f"none of the {len(oracle_reports)} oracle reports states an attribute of a finding")
    rows = [[score or 0.0, score is not None] for score in scores]

    def from_sums(sums: Array) -> dict[str, Array]:
        return {"attribute_f1": ratio_of_sums(sums[:, 0], sums[:, 1])}

    return Measures(np.array(rows, dtype=np.float64), from_sums, {})


def overlap_measures(generated_reports: Sequence[str], oracle_reports: Sequence[str]) -> Measures:
    """``OVERLAP`` of N generated reports with the oracle reports; studies whose oracle report says nothing don't count.

    CIDEr-D's weights come from all these oracle reports and stay the same in every resample.

    Raises:
        DataError: different lengths, or no study has an oracle report.
    """
    if len(generated_reports) != len(oracle_reports):
        raise DataError(f"{len(generated_reports)} generated reports for {len(oracle_reports)} oracle reports")
    texts = [normalised(report) for report in oracle_reports]
    kept = [place for place, text in enumerate(texts) if text]
    if not kept:
        raise DataError(f"none of the {len(oracle_reports)} studies has an oracle report to compare with")
    generated = [normalised(generated_reports[place]) for place in kept]
    oracle = [texts[place] for place in kept]
    words = [text.split() for text in generated], [text.split() for text in oracle]
    rouge = rouge_scores(*words)
    rows = [
        [*own, score, 1, *bleu_counts(*pair), *chrf_counts(ours, theirs)]
        for own, score, pair, ours, theirs in zip(
            rouge, cider_d(*words), zip(*words, strict=True), generated, oracle, strict=True
        )
    ]
    columns = np.zeros((len(oracle_reports), len(rows[0])))
    columns[kept] = rows
    return Measures(columns, _from_sums, _stated(rouge, generated, oracle))


def _from_sums(sums: Array) -> dict[str, Array]:
    num_means = len(ROUGE) + 1
    means = ratio_of_sums(sums[:, :num_means], sums[:, num_means : num_means + 1])
    first_chrf = num_means + 1 + BLEU_COUNTS
    names = (*ROUGE, "cider_d")
    found = {name: means[:, place] for place, name in enumerate(names)}
    found |= {"bleu_4": bleu(sums[:, num_means + 1 : first_chrf]), "chrf": _chrf(sums[:, first_chrf:])}
    return {name: found[name] for name in OVERLAP}


def _stated(rouge: list[list[float]], generated: Sequence[str], oracle: Sequence[str]) -> dict[str, float]:
    """What torchmetrics says of the whole set, to the last bit as ``text_scores`` has it."""
    import torch
    from torchmetrics.functional.text import bleu_score

    means = torch.tensor(rouge).T.contiguous()
    stated = {name: float(means[place].mean()) for place, name in enumerate(ROUGE)}
    return stated | {"bleu_4": float(bleu_score(generated, [[report] for report in oracle]))}


def _chrf(sums: Array) -> Array:
    """The mean over the orders that a resample defines."""
    _, written, wanted = np.split(sums, 3, axis=1)
    return mean_of_defined(chrf_orders(sums) + ratio_of_sums(np.zeros_like(written), written + wanted))
