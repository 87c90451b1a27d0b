"""Sentences by construction: each kind that is easily read the wrong way round, by cue, list, observation and position.

``grids.txt`` holds the templates. A cell is one sentence with the states that its template gives its findings.
``python tests/unit/labeler/grids.py`` prints the share of all cells that the labeler and the offline judge read right,
for each kind.
"""

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.labeler import Labeler
from orapo.records import Judgement
from orapo.reward import OfflineJudge

Obs = Observation
CODES = dict(
    zip(["NF", "EC", "CM", "LL", "LO", "ED", "CO", "PN", "AT", "PT", "PE", "PO", "FX", "SD"], OBSERVATIONS, strict=True)
)
STATES = {"+": LabelState.POSITIVE, "-": LabelState.NEGATIVE, "?": LabelState.UNCERTAIN}
SPOKEN = {LabelState.POSITIVE: Judgement.ENTAILED, LabelState.NEGATIVE: Judgement.CONTRADICTED}

# code or name: observation, article, noun, what grades it, what makes it an old one
NOUNS = {
    "EC": (CODES["EC"], "", "mediastinal widening", "mild", "unchanged"),
    "CM": (CODES["CM"], "", "cardiomegaly", "mild", "unchanged"),
    "LL": (CODES["LL"], "a", "nodule", "small", "unchanged"),
    "LO": (CODES["LO"], "an", "infiltrate", "hazy", "chronic"),
    "ED": (CODES["ED"], "", "pulmonary edema", "mild", "unchanged"),
    "CO": (CODES["CO"], "a", "consolidation", "dense", "unchanged"),
    "PN": (CODES["PN"], "", "pneumonia", "lobar", "unchanged"),
    "AT": (CODES["AT"], "", "atelectasis", "mild", "chronic"),
    "PT": (CODES["PT"], "a", "pneumothorax", "small", "chronic"),
    "PE": (CODES["PE"], "a", "pleural effusion", "small", "chronic"),
    "PO": (CODES["PO"], "", "pleural thickening", "mild", "chronic"),
    "FX": (CODES["FX"], "a", "rib fracture", "healed", "old"),
    "SD": (CODES["SD"], "a", "chest tube", "left", "unchanged"),
    "heart": (CODES["CM"], "a", "heart", "", ""),
    "heart_size": (CODES["CM"], "a", "heart size", "", ""),
    "heart_shadow": (CODES["CM"], "a", "heart shadow", "", ""),
    "cardiac_silhouette": (CODES["CM"], "a", "cardiac silhouette", "", ""),
    "mediastinum": (CODES["EC"], "a", "mediastinum", "", ""),
    "mediastinal_contour": (CODES["EC"], "a", "mediastinal contour", "", ""),
    "cardiomediastinal_silhouette": (CODES["EC"], "a", "cardiomediastinal silhouette", "", ""),
}
PLURALS = {"pneumothorax": "pneumothoraces"}
SLIPPED = ("CM", "CO", "PN", "AT", "PT", "PE", "FX")  # their last word is long, and one slip away from no other word


def _slips(word: str) -> list[str]:
    """One letter lost or two swapped, within the word."""
    inner = range(2, len(word) - 2)
    lost = [word[:i] + word[i + 1 :] for i in inner]
    swapped = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in inner if word[i] != word[i + 1]]
    return sorted({*lost, *swapped} - {word})


for _code in SLIPPED:
    _observation, _article, _noun, _graded, _old = NOUNS[_code]
    *_first, _last = _noun.split()
    for _slip in _slips(_last):
        NOUNS[f"slip_{_slip}"] = (_observation, _article, " ".join([*_first, _slip]), _graded, _old)

# how many are listed, and what stands before the last
ONE = ((1, ""),)
OR = (*ONE, (2, " or "), (3, " or "), (3, ", or "))
AND = (*ONE, (2, " and "), (2, " as well as "), (3, ", and "))
BOTH = ((2, " and "), (3, " and "))
COMMAS = ((2, ", "), (3, ", "))
SHAPES = {"one": ONE, "or": OR, "and": AND, "both": BOTH, "commas": COMMAS, "all": (*OR, *AND[1:])}

POSITIONS = (
    "{S}.",
    "{s}",
    "The trachea is midline; {s}.",
    "The lungs are well expanded. {S}.",
    "IMPRESSION: 1. {S}.",
    "{U}.",
)
APART = ("{S}.", "The lungs are well expanded. {S}.", "{U}.")  # where the template is more than one clause
JUDGED = ("{S}.", "The lungs are well expanded. {S}.")  # what isn't a sentence is refused
PLACES = {"K8": APART, "K10": APART, "K11": APART, "J1": JUDGED, "J2": JUDGED}


@dataclass(frozen=True)
class Slot:
    state: LabelState
    shapes: tuple[tuple[int, str], ...]
    form: str
    pool: tuple[str, ...]


@dataclass(frozen=True)
class Template:
    kind: str
    text: str  # with "{0}" where slot 0 stands, "{=a}" where it is named again
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Cell:
    """A sentence and the states of the findings that it names; all others are unmentioned but for No Finding."""

    kind: str
    text: str
    stated: tuple[tuple[Observation, LabelState], ...]

    @property
    def states(self) -> dict[Observation, LabelState]:
        named = dict(self.stated)
        found = {o for o, state in named.items() if state is not LabelState.NEGATIVE} - {Obs.SUPPORT_DEVICES}
        named[Obs.NO_FINDING] = LabelState.UNMENTIONED if found else LabelState.POSITIVE
        return {observation: named.get(observation, LabelState.UNMENTIONED) for observation in OBSERVATIONS}


def name(code: str, form: str) -> str:
    """One finding in words: "noun", "many", "a", "the", "graded", "old", with a capital where the form has one."""
    _, article, noun, graded, old = NOUNS[code]
    words = {
        "noun": noun,
        "many": PLURALS.get(noun, noun + "s"),
        "a": f"{article} {noun}",
        "the": f"the {noun}",
        "graded": f"{graded} {noun}",
        "old": f"{old} {noun}",
        "fixed": "",
    }[form.lower()].strip()
    return words[:1].upper() + words[1:] if form[0].isupper() else words


@cache
def templates() -> tuple[Template, ...]:
    """All templates of grids.txt, one for each way through their alternatives."""
    pools = {"SLIPS": tuple(code for code in NOUNS if code.startswith("slip_"))}
    found = []
    for line in Path(__file__).with_name("grids.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("="):
            key, *codes = line[1:].split()
            pools[key] = tuple(codes)
        elif line and not line.startswith("#"):
            kind, _, text = line.partition(" | ")
            found += [_template(kind, way, pools) for way in _ways(text)]
    return tuple(found)


def _ways(text: str) -> Iterator[str]:
    parts = re.split(r"\[([^\]]*)\]", text)
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return map("".join, itertools.product(*choices))


def _template(kind: str, text: str, pools: dict[str, tuple[str, ...]]) -> Template:
    slots: list[Slot] = []

    def slot(match: re.Match[str]) -> str:
        if match[1].startswith("= "):
            return "{=" + match[1][2:] + "}"
        sign, shape, form, pool = match[1].split()
        codes = pools.get(pool, tuple(pool.split(",")))
        most = len({NOUNS[code][0] for code in codes})
        slots.append(Slot(STATES[sign], tuple(s for s in SHAPES[shape] if s[0] <= most), form, codes))
        return f"{{{len(slots) - 1}}}"

    return Template(kind, re.sub(r"\{([^}]*)\}", slot, text), tuple(slots))


def _draw(slots: Sequence[Slot], counts: Sequence[int], start: int, rng: random.Random) -> list[list[str]]:
    """The codes for each slot, no observation twice; the narrowest pool chooses first, each from ``start`` on."""
    drawn: list[list[str]] = [[] for _ in slots]
    used: set[Observation] = set()
    for i in sorted(range(len(slots)), key=lambda i: len(slots[i].pool)):
        first = start % len(slots[i].pool)
        rest = [code for j, code in enumerate(slots[i].pool) if j != first]
        for code in [slots[i].pool[first], *rng.sample(rest, len(rest))]:
            if len(drawn[i]) < counts[i] and NOUNS[code][0] not in used:
                used.add(NOUNS[code][0])
                drawn[i].append(code)
        assert len(drawn[i]) == counts[i], slots[i]
    return drawn


def cell(template: Template, shapes: Sequence[tuple[int, str]], start: int, position: str, rng: random.Random) -> Cell:
    drawn = _draw(template.slots, [count for count, _ in shapes], start, rng)
    text = template.text
    for i, (slot, codes, (_, joint)) in enumerate(zip(template.slots, drawn, shapes, strict=True)):
        names = [name(code, slot.form) for code in codes]
        text = text.replace(f"{{{i}}}", joint.join([", ".join(names[:-1]), names[-1]]) if names[1:] else names[0])
    text = re.sub(r"\{=(\w+)\}", lambda match: name(drawn[0][0], match[1]), text).strip()
    stated = [(NOUNS[code][0], slot.state) for slot, codes in zip(template.slots, drawn, strict=True) for code in codes]
    placed = position.format(s=text, S=text[0].upper() + text[1:], U=text.upper())
    return Cell(template.kind, re.sub(r" +", " ", placed), tuple(stated))


def some_cells(kind: str) -> st.SearchStrategy[Cell]:
    """Any cell of a kind: any template, lists of any findings that may stand there, any position."""
    ways = [template for template in templates() if template.kind == kind]
    return st.builds(_any_cell, st.sampled_from(ways), st.randoms(use_true_random=False))


def _any_cell(template: Template, rng: random.Random) -> Cell:
    shapes = [rng.choice(slot.shapes) for slot in template.slots]
    return cell(template, shapes, rng.randrange(100), rng.choice(PLACES.get(template.kind, POSITIONS)), rng)


def all_cells() -> Iterator[Cell]:
    """Every way, shape and position with every finding at the head of its list, the others drawn; each text once."""
    seen: set[str] = set()
    for template in templates():
        starts = range(max(len(slot.pool) for slot in template.slots))
        shapes = itertools.product(*(slot.shapes for slot in template.slots))
        for i, chosen in enumerate(itertools.product(shapes, starts, PLACES.get(template.kind, POSITIONS))):
            made = cell(template, *chosen, random.Random(i))
            if made.text not in seen:
                seen.add(made.text)
                yield made


def is_read_right(made: Cell, labeler: Labeler) -> bool:
    return labeler.label(made.text).states == made.states


def is_judged_right(made: Cell, judge: OfflineJudge) -> bool:
    """The judge turns nothing round: it says of a finding what the cell states or nothing (J1: never nothing), and
    entails No Finding of no cell that names a finding or doubts one."""
    verdicts = {verdict.observation: verdict.judgement for verdict in judge.judge([made.text])[0].verdicts}
    if verdicts.pop(Obs.NO_FINDING) is Judgement.ENTAILED and made.states[Obs.NO_FINDING] is not LabelState.POSITIVE:
        return False
    silent = set() if made.kind == "J1" else {Judgement.NOT_MENTIONED}
    return all(said in {SPOKEN.get(made.states[o], Judgement.NOT_MENTIONED), *silent} for o, said in verdicts.items())


def main() -> None:
    labeler, judge = Labeler(), OfflineJudge()
    print("| kind | cells | labeler right | judge right |\n|---|---|---|---|")
    for kind, group in itertools.groupby(all_cells(), key=lambda made: made.kind):
        cells = list(group)
        labeled = sum(is_read_right(made, labeler) for made in cells) / len(cells)
        judged = sum(is_judged_right(made, judge) for made in cells) / len(cells)
        print(f"| {kind} | {len(cells)} | {100 * labeled:.1f} % | {100 * judged:.1f} % |")


if __name__ == "__main__":
    main()
