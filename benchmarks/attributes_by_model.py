"""How attributes read through the language-model judge agree with the labeler's, on phantoms.

No model answers here. A server on this machine stands in for one: it reads sentences by the grammar that wrote them, so
that asking, checking, keeping and comparing are measured, and not a model. With --mistakes it exchanges, leaves
out or adds that share of attributes, in answers that are valid: what a model's mistakes would do to the term.

Usage: python benchmarks/attributes_by_model.py [--num 100] [--mistakes 0 0.3] [--fault-rate 0.3]
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from judge_server import ATTRIBUTE_FAULTS, TEXT_FAULTS, JudgeServer
from phantom_reader import GrammarReader

from orapo.data.phantoms import PhantomSource
from orapo.records import Split, Study
from orapo.remote.cache import AnswerCache
from orapo.remote.retry import RetryPolicy
from orapo.reward import WeightedReward
from orapo.reward.agreement import pearson_correlation
from orapo.reward.llm.client import LlmClient
from orapo.reward.llm.endpoint import Endpoint
from orapo.reward.llm.grounding import sentences_of
from orapo.reward.llm.judge import LlmJudge

CHANGES: dict[str, Callable[[Sequence[Study], int], str]] = {
    "the oracle's own report": lambda studies, i: studies[i].oracle_report,
    "its first sentence left out": lambda studies, i: " ".join(_sentences(studies[i])[1:]),
    "another study's last sentence added": lambda studies, i: " ".join(
        [studies[i].oracle_report, _sentences(studies[i - 1])[-1]]
    ),
    "another study's report": lambda studies, i: studies[i - 1].oracle_report,
}


def _sentences(study: Study) -> list[str]:
    return [f"{sentence}." for sentence in sentences_of(study.oracle_report)]


def compared(num: int, mistakes: float, fault_rate: float) -> dict[str, tuple[list[float], list[float], int]]:
    """Of each change F1 by labeler and stand-in, over the studies that both define, and how many the labeler does."""
    source = PhantomSource(num_train=num)
    studies = source.studies(Split.TRAIN)
    faults = (*TEXT_FAULTS, *ATTRIBUTE_FAULTS)
    reader = GrammarReader(source, num, mistakes)
    found: dict[str, tuple[list[float], list[float], int]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        JudgeServer(fault_rate=fault_rate, faults=faults, attributes=reader) as server,
    ):
        cache = AnswerCache(Path(folder, "answers.sqlite"))
        retry = RetryPolicy(max_tries=20, first_delay_seconds=0.01, max_delay_seconds=0.05)
        judge = LlmJudge(LlmClient(Endpoint("openai/stand-in", server.api_base), cache, retry=retry), stages="offline")
        # Facts, offline, keep a study that leaves attributes undefined.
        terms = {"facts": 1, "attributes": 1}
        by_model = WeightedReward(terms, judge=judge, term_settings={"attributes": {"read_by": "model"}})
        by_labeler = WeightedReward(terms)
        for title, change in CHANGES.items():
            reports = [change(studies, place) for place in range(num)]
            pairs = [
                [breakdown.terms["attributes"] for breakdown in reward.score(reports, studies)]
                for reward in (by_labeler, by_model)
            ]
            both = [(a, b) for a, b in zip(*pairs, strict=True) if a is not None and b is not None]
            found[title] = [a for a, _ in both], [b for _, b in both], sum(a is not None for a in pairs[0])
        cache.close()
    return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=100, help="phantom studies, at least 2")
    parser.add_argument("--mistakes", type=float, nargs="+", default=[0.0, 0.3], help="shares in [0, 1]")
    parser.add_argument("--fault-rate", type=float, default=0.3, help="share of answers that are invalid, asked again")
    arguments = parser.parse_args()
    print("| generated report | mistakes | F1 by labeler | by stand-in | equal | correlation | studies |")
    print("|---|---|---|---|---|---|---|")
    for mistakes in arguments.mistakes:
        for title, (first, second, defined) in compared(arguments.num, mistakes, arguments.fault_rate).items():
            equal = sum(abs(a - b) < 1e-9 for a, b in zip(first, second, strict=True)) / len(first)
            means = f"{statistics.fmean(first):.3f} | {statistics.fmean(second):.3f}"
            correlation = f"{pearson_correlation(first, second):.3f}".replace("nan", "–")
            print(f"| {title} | {mistakes:.0%} | {means} | {equal:.1%} | {correlation} | {len(first)} of {defined} |")


if __name__ == "__main__":
    main()
