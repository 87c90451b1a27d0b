"""How many reports a second the labeler labels, on one core and through the real command on all cores.

The text is made here, in the manner of average chest X-ray reports: with and without the repetition of sentences that
real collections have. Usage: python benchmarks/labeler.py [--num 20000] [--json FILE]
"""

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from orapo.labeler import Labeler

NUM_MIMIC_CXR = 227_835
"""Reports of MIMIC-CXR, for which times are projected."""
TARGET = 5_000
"""Reports a second on one core with every sentence new."""
NUM_PASSES = 3
SHARE_OF_STOCK = 0.6
NUM_STOCK = 1_000

WORDS = {
    "degree": ("small", "moderate", "mild", "large", "subtle", "minimal", "increasing", "stable"),
    "side": ("left", "right", "bilateral", "left greater than right"),
    "zone": ("upper lobe", "lower lobe", "lung base", "perihilar region", "apex", "mid lung"),
    "lung": ("opacity", "consolidation", "atelectasis", "infiltrate", "nodule", "scarring", "pneumonia"),
    "pleura": ("pleural effusion", "pneumothorax", "pleural thickening"),
    "device": ("endotracheal tube", "central venous catheter", "nasogastric tube", "pacemaker", "chest tube"),
    "hedge": ("may represent", "could reflect", "is suspicious for", "likely represents", "is compatible with"),
    "heart": ("heart size", "cardiac silhouette", "cardiomediastinal silhouette", "heart"),
    "size": ("normal", "mildly enlarged", "unchanged", "within normal limits", "moderately enlarged"),
    "bone": ("degenerative changes of the spine", "rib fractures", "compression deformity", "osseous abnormality"),
}
SENTENCES = (
    "The {heart} is {size}{unique}.",
    "There is a {degree} {side} {pleura}{unique}.",
    "No {pleura}, {lung} or {pleura} is identified{unique}.",
    "{degree} {lung} in the {side} {zone}{unique} {hedge} {lung}.",
    "Lungs are clear without focal {lung}{unique}.",
    "The {device} ends in standard position{unique}.",
    "There is no evidence of {lung} or pulmonary edema{unique}.",
    "No acute {bone}{unique}.",
    "Compared to the prior study, the {side} {pleura} has {degree} change{unique}.",
    "Mediastinal and hilar contours are {size}{unique}.",
    "Pulmonary vascularity is {size}, without overt edema{unique}.",
    "{lung} in the {zone} cannot be excluded{unique}, and {degree} {pleura} persists.",
    "The patient is rotated and lung volumes are low{unique}.",
)
FEWEST_SENTENCES, MOST_SENTENCES = 4, 8


def _sentence(draw: random.Random, unique: str) -> str:
    chosen = {name: draw.choice(words) for name, words in WORDS.items()}
    sentence = draw.choice(SENTENCES).format(unique=unique, **chosen)
    return sentence[0].upper() + sentence[1:]


def make_reports(num_reports: int, seed: int, *, repeat: bool) -> list[str]:
    """Reports of 4 to 8 sentences.

    Args:
        num_reports: how many.
        seed: another seed, other sentences.
        repeat: take three of five sentences from a stock, the most frequent ones most often; otherwise every sentence
            is unlike any other, by a place of its own in the image.
    """
    draw = random.Random(seed)
    stock = [_sentence(draw, "") for _ in range(NUM_STOCK)]
    weights = [1 / rank for rank in range(1, NUM_STOCK + 1)]
    common = iter(draw.choices(stock, weights, k=num_reports * MOST_SENTENCES))
    reports, number = [], 0
    for _ in range(num_reports):
        sentences = []
        for _ in range(draw.randint(FEWEST_SENTENCES, MOST_SENTENCES)):
            number += 1
            is_common = repeat and draw.random() < SHARE_OF_STOCK
            sentences.append(next(common) if is_common else _sentence(draw, f" at {seed}-{number}"))
        reports.append(" ".join(sentences))
    return reports


def one_core(num_reports: int, *, repeat: bool) -> tuple[float, list[str]]:
    """Reports a second in this process, median of passes with texts and a labeler of their own; and the last texts."""
    rates, reports = [], [""]
    for seed in range(NUM_PASSES):
        reports = make_reports(num_reports, seed, repeat=repeat)
        labeler = Labeler()
        start = time.perf_counter()
        for report in reports:
            _ = labeler.label(report).states
        rates.append(num_reports / (time.perf_counter() - start))
    return statistics.median(rates), reports


def through_the_command(reports: Sequence[str], num_workers: int) -> float:
    """Reports a second of ``python -m orapo.labeler`` on a file, its start and its files included."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "reports.csv")
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("study_id", "report"), *enumerate(reports)])
        command = [sys.executable, "-m", "orapo.labeler", str(table), str(Path(folder, "labels.csv"))]
        start = time.perf_counter()
        subprocess.run([*command, "--workers", str(num_workers)], check=True, stderr=subprocess.DEVNULL)
        return len(reports) / (time.perf_counter() - start)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=20_000, metavar="N", help="reports in each measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    asked = parser.parse_args()
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fresh, reports = one_core(asked.num, repeat=False)
    usual, repeated = one_core(asked.num, repeat=True)
    rates = {
        "one core, every sentence new": fresh,
        "one core, usual repetition": usual,
        "command, 1 process, every sentence new": through_the_command(reports, 1),
        f"command, {num_cores} processes, every sentence new": through_the_command(reports, num_cores),
        f"command, {num_cores} processes, usual repetition": through_the_command(repeated, num_cores),
    }
    labeler = Labeler()
    sample = reports[:1_000]
    text = {
        "words per report": statistics.mean(len(report.split()) for report in sample),
        "sentences per report": statistics.mean(report.count(".") for report in sample),
        "mentions per report": statistics.mean(len(labeler.label(report).mentions) for report in sample),
    }
    print(f"{asked.num} reports each; " + ", ".join(f"{number:.1f} {name}" for name, number in text.items()))
    print(f"usual repetition: {SHARE_OF_STOCK:.0%} of the sentences come from a stock of {NUM_STOCK}\n")
    print(f"{'':48}{'reports/s':>10}{f'{NUM_MIMIC_CXR:,} reports':>20}")
    for name, rate in rates.items():
        print(f"{name:48}{rate:10,.0f}{NUM_MIMIC_CXR / rate:18.0f} s")
    print(
        f"\ntarget on one core with every sentence new: {TARGET:,} a second: {'met' if fresh >= TARGET else 'missed'}"
    )
    if asked.json:
        asked.json.write_text(json.dumps({"num_reports": asked.num, "text": text, "reports_a_second": rates}, indent=2))


if __name__ == "__main__":
    main()
