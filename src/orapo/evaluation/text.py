"""Measures of the text alone: overlap with the oracle report, and signs of a policy that always says the same."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from orapo.errors import DataError
from orapo.measures.rouge import ROUGE, rouge_scores
from orapo.measures.words import normalised


@dataclass(frozen=True, slots=True)
class TextScores:
    """Text measures of N generated reports; overlap is computed on lower-cased letters and digits.

    Attributes:
        mean_words: words per generated report, split at white space.
        distinct_report_fraction: different generated reports over N, in (0, 1]; 1 / N when all are the same.
        empty_report_fraction: reports that say nothing (``says_nothing``), in [0, 1].
        rouge_l: mean over studies of the F-measure of the longest common subsequence, in [0, 1].
        bleu_4: corpus BLEU up to four-grams with brevity penalty, no smoothing, in [0, 1].
    """

    mean_words: float
    distinct_report_fraction: float
    empty_report_fraction: float
    rouge_l: float
    bleu_4: float

    def to_dict(self) -> dict[str, float]:
        """Plain numbers for summary.json."""
        return asdict(self)


def text_scores(generated_reports: Sequence[str], oracle_reports: Sequence[str]) -> TextScores:
    """Text measures of N generated reports against the oracle reports of the same studies.

    Nothing is downloaded: ROUGE-Lsum, which needs a sentence splitter from the network, is left out on purpose.

    Raises:
        DataError: no reports, or different lengths.
    """
    if not oracle_reports or len(generated_reports) != len(oracle_reports):
        raise DataError(
            f"text scores need one generated report for each of at least 1 oracle report, "
            f"got {len(generated_reports)} for {len(oracle_reports)}"
        )
    # torchmetrics takes seconds to import; whoever only reads scores shouldn't pay for it.
    import torch
    from torchmetrics.functional.text import bleu_score

    num_reports = len(generated_reports)
    generated = [normalised(report) for report in generated_reports]
    oracle = [normalised(report) for report in oracle_reports]
    rouge = rouge_scores([report.split() for report in generated], [report.split() for report in oracle])
    return TextScores(
        mean_words=sum(len(report.split()) for report in generated_reports) / num_reports,
        distinct_report_fraction=len(set(generated)) / num_reports,
        empty_report_fraction=generated.count("") / num_reports,
        rouge_l=float(torch.tensor([row[ROUGE.index("rouge_l")] for row in rouge]).mean()),
        bleu_4=float(bleu_score(generated, [[report] for report in oracle])),
    )
