"""How long it takes from naming a data set to a balanced subset of 1,000 studies, how much memory, and what is opened.

Writes tables as large as those of CheXpert Plus, MIMIC-CXR and ReXGradient-160K into a temporary folder (about a minute
and 1 GB), then measures each source in a fresh process that is bound to one core. Exits with 1 when a limit is broken.

Usage: python benchmarks/subset.py [--json FILE] [--data-set chexpert_plus | mimic_cxr | rexgradient]
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from large_tables import (
    REX_LABELS,
    mimic_images,
    plus_images,
    rex_images,
    write_chexpert_plus,
    write_image_files,
    write_mimic_cxr,
    write_rexgradient,
)

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.data.balanced_subset import BalancedSubset
from orapo.data.chexpert_plus import ChexpertPlus
from orapo.data.json_studies import RexGradient
from orapo.data.mimic_cxr import MimicCxr
from orapo.data.source import StudySource
from orapo.records import Split, Study

MOST_SECONDS = 15.0
MOST_GIGABYTES = 1.5
NUM_STUDIES = 1_000
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".dcm")


@dataclass(frozen=True)
class LargeSet:
    """A data set that can be measured.

    Attributes:
        write: writes its tables into a folder.
        open: makes the source.
        images: the files of a study, by its id.
    """

    write: Callable[[Path], None]
    open: Callable[[str], StudySource]
    images: Callable[[str], list[str]]


SETS = {
    "chexpert_plus": LargeSet(write_chexpert_plus, lambda root: ChexpertPlus(root).open(), plus_images),
    "mimic_cxr": LargeSet(write_mimic_cxr, lambda root: MimicCxr(root).open(), mimic_images),
    "rexgradient": LargeSet(
        write_rexgradient,
        lambda root: RexGradient(root, labels="table", label_table=f"{root}/{REX_LABELS}").open(),
        rex_images,
    ),
}


@dataclass(frozen=True)
class Measured:
    """What one process found.

    Attributes:
        data_set: its name.
        seconds_to_list: from the constructor to the entries of the training split.
        seconds_to_choose: from there to the manifest; without the time in which the empty image files were made.
        cpu_seconds: of both.
        peak_gigabytes: of the whole process, its imports included.
        num_listed: training studies to choose from.
        num_read: studies whose report was opened.
        num_chosen: studies of the manifest.
        num_images_opened: image files opened.
        positives: per observation: studies of the pool, of a random subset, of the balanced subset.
    """

    data_set: str
    seconds_to_list: float
    seconds_to_choose: float
    cpu_seconds: float
    peak_gigabytes: float
    num_listed: int
    num_read: int
    num_chosen: int
    num_images_opened: int
    positives: dict[str, tuple[int, int, int]]

    @property
    def broken(self) -> list[str]:
        """The limits that it breaks, in words."""
        seconds = self.seconds_to_list + self.seconds_to_choose
        found = []
        if seconds > MOST_SECONDS:
            found.append(f"{self.data_set}: {seconds:.1f} s, allowed are {MOST_SECONDS:.0f}")
        if self.peak_gigabytes > MOST_GIGABYTES:
            found.append(f"{self.data_set}: {self.peak_gigabytes:.2f} GB, allowed are {MOST_GIGABYTES}")
        if self.num_images_opened:
            found.append(f"{self.data_set}: {self.num_images_opened} images opened, allowed are none")
        if self.num_chosen != NUM_STUDIES:
            found.append(f"{self.data_set}: {self.num_chosen} studies chosen, asked for were {NUM_STUDIES}")
        return found


def measure(data_set: str, folder: Path) -> Measured:
    """Lists and chooses in this process."""
    opened: list[str] = []
    sys.addaudithook(lambda event, arguments: _note_image(opened, event, arguments))
    large_set, num_read, seconds_making = SETS[data_set], 0, 0.0
    started, cpu = time.perf_counter(), time.process_time()
    source = large_set.open(str(folder))
    entries = source.entries(Split.TRAIN)
    listed = time.perf_counter()

    def is_usable(study_id: str) -> bool:
        nonlocal num_read, seconds_making
        making = time.perf_counter()
        opened_before = len(opened)
        write_image_files(folder, large_set.images(study_id))
        del opened[opened_before:]  # made by this script
        seconds_making += time.perf_counter() - making
        num_read += 1
        return isinstance(source.read(study_id), Study)

    subset = BalancedSubset(num_studies=NUM_STUDIES, seed=0)
    manifest = subset.choose(entries, is_usable=is_usable, source_digest=source.digest())
    chosen = time.perf_counter()
    cpu_seconds, peak = time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    by_chance = random.Random(1).sample(entries, min(NUM_STUDIES, len(entries)))
    return Measured(
        data_set=data_set,
        seconds_to_list=listed - started,
        seconds_to_choose=chosen - listed - seconds_making,
        cpu_seconds=cpu_seconds,
        peak_gigabytes=peak * 1024 / 1e9,
        num_listed=len(entries),
        num_read=num_read,
        num_chosen=len(manifest.study_ids),
        num_images_opened=len(opened),
        positives={
            observation.value: (
                manifest.positives_before[observation],
                sum(entry.labels[observation] is LabelState.POSITIVE for entry in by_chance),
                manifest.positives_after[observation],
            )
            for observation in OBSERVATIONS
        },
    )


def main() -> int:
    """Writes, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--data-set", choices=SETS, action="append", help="only this one; may be repeated")
    parser.add_argument("--measure", nargs=2, metavar=("DATA_SET", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(asdict(measure(options.measure[0], Path(options.measure[1])))))
        return 0
    results = [_measure_in_new_process(data_set) for data_set in options.data_set or SETS]
    _print_tables(results)
    broken = [words for result in results for words in result.broken]
    if options.json:
        content = {"results": [asdict(result) for result in results], "broken": broken}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for words in broken:
        print(f"LIMIT BROKEN: {words}", file=sys.stderr)
    return 1 if broken else 0


def _note_image(opened: list[str], event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and str(arguments[0]).lower().endswith(_IMAGE_ENDINGS):
        opened.append(str(arguments[0]))


def _measure_in_new_process(data_set: str) -> Measured:
    with tempfile.TemporaryDirectory(prefix="orapo-subset-") as folder:
        started = time.perf_counter()
        SETS[data_set].write(Path(folder))
        print(f"{data_set}: tables written in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        command = [sys.executable, __file__, "--measure", data_set, folder]
        child = subprocess.run(command, stdout=subprocess.PIPE, check=True, preexec_fn=_bind_to_one_core)
    return Measured(**json.loads(child.stdout))


def _bind_to_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _print_tables(results: list[Measured]) -> None:
    print(
        "| | list s | choose s | CPU s | peak GB | studies | reports opened | images opened |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for result in results:
        print(
            f"| {result.data_set} | {result.seconds_to_list:.1f} | {result.seconds_to_choose:.1f} "
            f"| {result.cpu_seconds:.1f} | {result.peak_gigabytes:.2f} | {result.num_listed:,} | {result.num_read:,} "
            f"| {result.num_images_opened} |"
        )
    for result in results:
        print(f"\n{result.data_set}: studies positive for each observation\n")
        print("| observation | pool | random | balanced |\n|---|---|---|---|")
        for observation, (pool, by_chance, balanced) in result.positives.items():
            print(f"| {observation} | {pool:,} | {by_chance} | {balanced} |")


if __name__ == "__main__":
    sys.exit(main())
