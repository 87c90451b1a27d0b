"""Measures of the text and of the cost of generating it, as sums over studies; nothing is downloaded.

Overlap is computed on lower-cased letters and digits, over the studies whose oracle report says something. BLEU and
chrF are ratios of added counts, so that their counts are kept per study to resample them.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from orapo.errors import DataError
from orapo.evaluation.resampling import Array, Measures, mean_of_defined, ratio_of_sums
from orapo.measures.attributes import attribute_agreement, change_agreement
from orapo.measures.cider import cider_d
from orapo.measures.overlap import BLEU_COUNTS, bleu, bleu_counts, chrf_counts, chrf_orders
from orapo.measures.rouge import ROUGE, rouge_scores
from orapo.measures.words import normalised, repetition

OVERLAP = (*ROUGE, "bleu_4", "chrf", "cider_d")
"""Measures that need an oracle report."""
ATTRIBUTES = ("attribute_f1", "change_accuracy", "change_recall")
"""Measures that need oracle reports that state attributes, or changes."""


def length_measures(generated_reports: Sequence[str]) -> Measures:
    """``mean_words``, split at white space, ``repetition`` and ``empty_report_fraction``, of N generated reports."""
    return mean_measures(
        {
            "mean_words": [len(report.split()) for report in generated_reports],
            "repetition": [repetition(report) for report in generated_reports],
            "empty_report_fraction": [normalised(report) == "" for report in generated_reports],
        }
    )


def mean_measures(values: Mapping[str, Sequence[float | None]]) -> Measures:
    """The mean of each quantity over those of N studies that have it; None where one has none.

    A quantity that no study has is left out.
    """
    known = {name: column for name, column in values.items() if any(value is not None for value in column)}
    num_studies = max((len(column) for column in values.values()), default=0)
    rows = [[value or 0.0, value is not None] for column in known.values() for value in column]
    table = np.array(rows, dtype=np.float64).reshape(len(known), num_studies, 2).transpose(1, 0, 2)

    def from_sums(sums: Array) -> dict[str, Array]:
        return {name: ratio_of_sums(sums[:, 2 * place], sums[:, 2 * place + 1]) for place, name in enumerate(known)}

    return Measures(table.reshape(num_studies, 2 * len(known)), from_sums, {})


def cost_measures(
    num_images: Sequence[int], seconds: Sequence[float | None], cost_usd: Sequence[float | None]
) -> Measures:
    """``seconds_per_image`` and ``cost_usd_per_image`` of N studies, each only where it is known for all of them."""
    known = {"seconds_per_image": seconds, "cost_usd_per_image": cost_usd}
    given = {name: values for name, values in known.items() if None not in values}
    columns = np.array([num_images, *given.values()], dtype=np.float64).T

    def from_sums(sums: Array) -> dict[str, Array]:
        return {name: sums[:, place] / sums[:, 0] for place, name in enumerate(given, start=1)}

    return Measures(columns, from_sums, {})


def attribute_measures(generated_reports: Sequence[str], oracle_reports: Sequence[str]) -> Measures:
    """``attribute_f1``: the mean over the studies whose oracle report states an attribute; none where none does."""
    scores = [attribute_agreement(*pair).f1 for pair in zip(generated_reports, oracle_reports, strict=True)]
    return mean_measures({"attribute_f1": scores})


def change_measures(generated_reports: Sequence[str], oracle_reports: Sequence[str]) -> Measures:
    """``change_accuracy`` and ``change_recall``, over the changes that the oracle reports of N studies state.

    Recall is the share that the generated reports state too. Accuracy leaves out findings for which the generated
    report states no change, so that a finding that was not seen doesn't count.
    """
    rows = [change_agreement(*pair) for pair in zip(generated_reports, oracle_reports, strict=True)]

    def from_sums(sums: Array) -> dict[str, Array]:
        stated, answered, right = sums.T
        return {"change_accuracy": ratio_of_sums(right, answered), "change_recall": ratio_of_sums(right, stated)}

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
    """What torchmetrics says of the whole set, to the last bit."""
    import torch
    from torchmetrics.functional.text import bleu_score

    means = torch.tensor(rouge).T.contiguous()
    stated = {name: float(means[place].mean()) for place, name in enumerate(ROUGE)}
    return stated | {"bleu_4": float(bleu_score(generated, [[report] for report in oracle]))}


def _chrf(sums: Array) -> Array:
    """The mean over the orders that a resample defines."""
    _, written, wanted = np.split(sums, 3, axis=1)
    return mean_of_defined(chrf_orders(sums) + ratio_of_sums(np.zeros_like(written), written + wanted))
