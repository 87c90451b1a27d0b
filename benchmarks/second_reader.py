"""Where the labeler and the strict parser of phantom reports agree: on phantoms, and on phantoms with broken words.

    python benchmarks/second_reader.py        # about half a minute on one core

In a broken report one word was left out, moved, doubled or taken from another report: what a policy that games the
labeler might write. The parser reads whole sentences of the grammar alone.
"""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates
from orapo.data.phantom_reader import PhantomReader
from orapo.data.phantoms.source import PhantomSource
from orapo.labeler import Labeler
from orapo.records import Split

NUM_REPORTS = 4_000
SEED = 0


def broken(report: str, others: list[str], generator: np.random.Generator) -> str:
    """The report with one word left out, moved, doubled, or replaced by another report's."""
    words = report.split()
    place = int(generator.integers(len(words)))
    kind = generator.integers(4)
    if kind == 0 and len(words) > 1:
        del words[place]
    elif kind == 1:
        words.insert(int(generator.integers(len(words))), words.pop(place))
    elif kind == 2:
        words.insert(place, words[place])
    else:
        words[place] = str(generator.choice(others[int(generator.integers(len(others)))].split()))
    return " ".join(words)


def agreement(reports: Iterable[str]) -> tuple[dict[str, float], Counter[tuple[str, str]]]:
    """Shares of label states, of present labels and of whole reports on which both agree; the states that differ."""
    labeler, parser = Labeler(), PhantomReader()
    differ: Counter[tuple[str, str]] = Counter()
    num_reports = num_equal = num_refused = both = either = 0
    for report in reports:
        theirs, ours = labeler.label(report).states, parser.read(report)
        pairs = [(theirs[o], ours.states[o]) for o in OBSERVATIONS]
        differ.update((labeled.value, parsed.value) for labeled, parsed in pairs if labeled is not parsed)
        num_reports, num_refused = num_reports + 1, num_refused + (ours.num_refused > 0)
        num_equal += all(labeled is parsed for labeled, parsed in pairs)
        is_there: Callable[[LabelState], bool] = lambda state: state is LabelState.POSITIVE  # noqa: E731
        both += sum(is_there(labeled) and is_there(parsed) for labeled, parsed in pairs)
        either += sum(is_there(labeled) or is_there(parsed) for labeled, parsed in pairs)
    return {
        "reports read as a whole": 1 - num_refused / num_reports,
        "equal reports": num_equal / num_reports,
        "equal label states": 1 - differ.total() / (num_reports * len(OBSERVATIONS)),
        "present by both, of present by either": both / either,
    }, differ


def phantoms() -> list[tuple[str, LabelStates]]:
    """The reports of as many training as test studies."""
    source = PhantomSource()
    studies = [source.study(split, index) for split in (Split.TRAIN, Split.TEST) for index in range(NUM_REPORTS // 2)]
    return [(study.oracle_report, study.labels) for study in studies]


def main() -> None:
    """Prints a table."""
    generator = np.random.default_rng(SEED)
    reports = [report for report, _ in phantoms()]
    sets = {"phantoms": reports, "broken": [broken(report, reports, generator) for report in reports]}
    found = {name: agreement(of_set) for name, of_set in sets.items()}
    print(f"| {NUM_REPORTS:,} reports | {' | '.join(sets)} |\n|---|{'---:|' * len(sets)}")
    for row in found["phantoms"][0]:
        print(f"| {row} | {' | '.join(f'{shares[row]:.4f}' for shares, _ in found.values())} |")
    for (labeled, parsed), count in found["broken"][1].most_common(6):
        print(f"| labeler {labeled}, parser {parsed} | {found['phantoms'][1][labeled, parsed]} | {count} |")


if __name__ == "__main__":
    main()
