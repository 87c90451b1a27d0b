"""How attribute F1 answers to changes of the oracle's own report, on phantoms.

Usage: python benchmarks/attributes.py [--num 400]
"""

import argparse
import re
from collections.abc import Callable, Mapping

from orapo.data.phantoms import PhantomSource
from orapo.measures.attributes import attribute_agreement
from orapo.records import Split

SIDES = {"left": "right", "right": "left"}
SIZES = {"small": "large", "mild": "severe", "moderate": "large", "large": "small", "severe": "mild"}
STATED = dict.fromkeys((*SIDES, *SIZES, "bilateral", "basilar", "upper", "lower", "mid"), "")


def replaced(report: str, words: Mapping[str, str]) -> str:
    """The report with whole words exchanged; capitals are kept."""

    def other(found: re.Match[str]) -> str:
        word = words[found[0].lower()]
        return word.capitalize() if found[0][0].isupper() else word

    return re.sub(rf"\b(?:{'|'.join(words)})\b", other, report, flags=re.IGNORECASE)


CHANGES: dict[str, Callable[[list[str], int], str]] = {
    "the oracle's own report": lambda reports, i: reports[i],
    "left and right exchanged": lambda reports, i: replaced(reports[i], SIDES),
    "small and large exchanged": lambda reports, i: replaced(reports[i], SIZES),
    "both": lambda reports, i: replaced(replaced(reports[i], SIDES), SIZES),
    "sides, places and sizes left out": lambda reports, i: replaced(reports[i], STATED),
    "an effusion on the left added": lambda reports, i: f"{reports[i]} Left pleural effusion.",
    "another study's report": lambda reports, i: reports[i - 1],
    "no report": lambda reports, i: "",
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=400, help="phantom studies, at least 1")
    reports = [s.oracle_report for s in PhantomSource(num_train=parser.parse_args().num).studies(Split.TRAIN)]
    print("| generated report | mean F1 | studies |\n|---|---|---|")
    for title, change in CHANGES.items():
        scores = [attribute_agreement(change(reports, i), report).f1 for i, report in enumerate(reports)]
        defined = [score for score in scores if score is not None]
        print(f"| {title} | {sum(defined) / len(defined):.3f} | {len(defined)} |")


if __name__ == "__main__":
    main()
