"""Text measures as sums over studies, for intervals and paired tests; nothing is downloaded.

Overlap is computed on lower-cased letters and digits, over the studies whose oracle report says something. BLEU and
chrF are ratios of added counts, so that their counts are kept per study to resample them.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from orapo.errors import DataError
from orapo.evaluation.cider import cider_d, ngram_counts
from orapo.evaluation.clinical import ratio
from orapo.evaluation.resampling import Array, Measures, mean_of_defined, ratio_of_sums
from orapo.evaluation.rouge import ROUGE, rouge_scores
from orapo.evaluation.text import normalised

OVERLAP = (*ROUGE, "bleu_4", "chrf", "cider_d")
"""Measures that need an oracle report."""

BLEU_ORDERS = 4
CHRF_ORDERS = 6
CHRF_BETA = 2.0


def length_measures(generated_reports: Sequence[str]) -> Measures:
    """``mean_words``, split at white space, and ``empty_report_fraction``, of N generated reports."""
    rows = [[len(report.split()), normalised(report) == "", 1] for report in generated_reports]

    def from_sums(sums: Array) -> dict[str, Array]:
        return {"mean_words": sums[:, 0] / sums[:, 2], "empty_report_fraction": sums[:, 1] / sums[:, 2]}

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
        [*own, score, 1, *_bleu_counts(*pair), *_chrf_counts(ours, theirs)]
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
    first_chrf = num_means + 1 + 2 * BLEU_ORDERS + 2
    bleu, chrf = _bleu(sums[:, num_means + 1 : first_chrf]), _chrf(sums[:, first_chrf:])
    names = (*ROUGE, "cider_d")
    found = {name: means[:, place] for place, name in enumerate(names)} | {"bleu_4": bleu, "chrf": chrf}
    return {name: found[name] for name in OVERLAP}


def _stated(rouge: list[list[float]], generated: Sequence[str], oracle: Sequence[str]) -> dict[str, float]:
    """What torchmetrics says of the whole set, to the last bit as ``text_scores`` has it."""
    import torch
    from torchmetrics.functional.text import bleu_score

    means = torch.tensor(rouge).T.contiguous()
    stated = {name: float(means[place].mean()) for place, name in enumerate(ROUGE)}
    return stated | {"bleu_4": float(bleu_score(generated, [[report] for report in oracle]))}


def _bleu_counts(generated: list[str], oracle: list[str]) -> list[int]:
    """Matches of one to four words, n-grams written, words written, words of the oracle."""
    matches, written = [], []
    for length in range(1, BLEU_ORDERS + 1):
        ours = ngram_counts(generated, length)
        matches.append((ours & ngram_counts(oracle, length)).total())
        written.append(ours.total())
    return [*matches, *written, len(generated), len(oracle)]


def _bleu(sums: Array) -> Array:
    matches, written = sums[:, :BLEU_ORDERS], sums[:, BLEU_ORDERS : 2 * BLEU_ORDERS]
    precision = ratio(matches, written)
    # Without smoothing one order without a match makes the whole 0.
    mean = np.exp(np.log(np.where(precision > 0, precision, 1.0)).mean(axis=1)) * (precision > 0).all(axis=1)
    length_ratio = ratio(sums[:, -1], sums[:, -2])
    return np.asarray(mean * np.exp(np.minimum(0.0, 1.0 - length_ratio)))


def _chrf_counts(generated: str, oracle: str) -> list[int]:
    """Matches, n-grams written and n-grams of the oracle, of one to six letters, spaces left out."""
    ours, theirs = generated.replace(" ", ""), oracle.replace(" ", "")
    counts = [(_letters(ours, length), _letters(theirs, length)) for length in range(1, CHRF_ORDERS + 1)]
    matches = [(written & wanted).total() for written, wanted in counts]
    return [*matches, *(written.total() for written, _ in counts), *(wanted.total() for _, wanted in counts)]


def _letters(text: str, length: int) -> Counter[str]:
    return Counter(text[first : first + length] for first in range(len(text) - length + 1))


def _chrf(sums: Array) -> Array:
    matches, written, wanted = np.split(sums, 3, axis=1)
    precision, recall = ratio(matches, written), ratio(matches, wanted)
    scores = ratio((1 + CHRF_BETA**2) * precision * recall, CHRF_BETA**2 * precision + recall)
    return mean_of_defined(scores + ratio_of_sums(np.zeros_like(written), written + wanted))
