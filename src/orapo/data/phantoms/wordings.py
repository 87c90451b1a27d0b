"""The words of a phantom report: noun phrases, the sentences they stand in, denials, and what each states."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from orapo.chexpert import Observation
from orapo.data.phantoms.findings import Finding
from orapo.labeler import Attributes, Certainty, Change, Place, Severity, Side

_O = Observation
LUNG = "{side} {zone} lung"
_PARSE = Formatter().parse

Phrases = Mapping[Observation, tuple[tuple[str, ...], ...]]
Frames = tuple[tuple[float, str, Certainty], ...]
"""Up to which drawn number, the sentence that a noun phrase stands in, and how certain it is."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How a report words what it states, and what it says besides.

    Attributes:
        phrases: noun phrases of each finding, as ``PHRASES``.
        frames: sentences that affirm a finding.
        device_frames: sentences that affirm a device.
        hedges: sentences that hedge a finding.
        denials: whole sentences, by what they deny.
        asides: by topic, whole sentences that state nothing of the 14 observations; a report has 1 to 3 of them, each
            of another topic, and its sentences stand in any order. None: none, and the sentences stand in order.
        copies: sentences that repeat an aside as a prior report's; most reports with asides have one.
        max_length: words and marks of a report, at most, as far as leaving out asides can keep to it.
    """

    phrases: Phrases
    frames: Frames
    device_frames: Frames
    hedges: Frames
    denials: Mapping[str, tuple[str, ...]]
    asides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    copies: tuple[str, ...] = ()
    max_length: int = 0


# A noun phrase starts with "a "/"an " when it is countable and singular, with "+" when it is plural. A word in braces
# states an attribute. Of several rows the finding's severity chooses, or whether it is on both sides.
PHRASES: Phrases = {
    _O.SUPPORT_DEVICES: (
        ("a {side} central venous catheter", "a {side} internal jugular catheter", "a {side} central venous line"),
        ("a {side} chest pacemaker", "a pacemaker on the {side}", "a {side} pectoral pacemaker"),
        ("an endotracheal tube",),
    ),
    _O.CARDIOMEGALY: (("{degree} cardiomegaly", "a {degree_ly} enlarged heart", "{degree} enlargement of the heart"),),
    _O.ENLARGED_CARDIOMEDIASTINUM: (
        (
            "a {extent_ly} widened mediastinum",
            "{extent} widening of the mediastinum",
            "a {extent_ly} enlarged cardiomediastinum",
        ),
    ),
    _O.EDEMA: (("{degree} pulmonary edema", "{degree} edema in {both} lungs", "{degree} {bilateral} pulmonary edema"),),
    _O.CONSOLIDATION: (
        (f"dense consolidation in the {LUNG}", f"focal consolidation in the {LUNG}", f"{LUNG} consolidation"),
    ),
    _O.LUNG_OPACITY: (
        (f"a {{size}} opacity in the {LUNG}", f"a hazy opacity in the {LUNG}", f"a hazy {LUNG} opacity"),
    ),
    _O.PNEUMONIA: ((f"pneumonia in the {LUNG}", f"patchy pneumonia in the {LUNG}", f"{LUNG} pneumonia"),),
    _O.LUNG_LESION: (
        (f"a {{size}} nodule in the {LUNG}", f"a {LUNG} nodule", f"a {{size}} {LUNG} nodule"),
        (f"a round nodule in the {LUNG}", f"a {LUNG} nodule", f"a round {LUNG} nodule"),
        (f"a {{size}} mass in the {LUNG}", f"a {LUNG} mass", f"a {{size}} {LUNG} mass"),
    ),
    _O.ATELECTASIS: (
        (
            "{extent} {side} {basilar} atelectasis",
            "subsegmental atelectasis at the {side} lung {base}",
            "streaky {side} {basilar} atelectasis",
        ),
        (
            "{extent} {bibasilar} atelectasis",
            "atelectasis at {both} lung {bases}",
            "streaky {bibasilar} atelectasis",
        ),
    ),
    _O.PLEURAL_EFFUSION: (
        (
            "a {size} {side} pleural effusion",
            "a {size} pleural effusion on the {side}",
            "a {size} layering {side} pleural effusion",
        ),
        (
            "+{size} {bilateral} pleural effusions",
            "+{bilateral} pleural effusions",
            "+layering {bilateral} pleural effusions",
        ),
    ),
    _O.PNEUMOTHORAX: (
        (
            "a {size} {side} pneumothorax",
            "a {size} pneumothorax on the {side}",
            "a {size} {side} {apical} pneumothorax",
        ),
    ),
    _O.PLEURAL_OTHER: (
        (
            "{extent} {side} pleural thickening",
            "{extent} pleural thickening on the {side}",
            "{side} lateral pleural thickening",
        ),
    ),
    _O.FRACTURE: (("a displaced {side} rib fracture", "an acute {side} rib fracture", "a fracture of a {side} rib"),),
}
"""The order of the keys is the order of the report."""

_FRAMES: Frames = (
    (0.6, "{Bare}.", Certainty.CERTAIN),
    (0.8, "There {be} {phrase}.", Certainty.CERTAIN),
    (1.0, "{Phrase} {be} seen.", Certainty.CERTAIN),
)
_HEDGES: Frames = (
    (0.4, "Possible {bare}.", Certainty.POSSIBLE),
    (0.7, "Suspected {bare}.", Certainty.LIKELY),
    (1.0, "Findings may represent {phrase}.", Certainty.POSSIBLE),
)

PLAIN = Wording(
    phrases=PHRASES,
    frames=_FRAMES,
    device_frames=(*_FRAMES[:-1], (1.0, "{Phrase} {be} in place.", Certainty.CERTAIN)),
    hedges=_HEDGES,
    denials={
        "heart size": ("Heart size is normal.", "The heart is normal in size.", "The heart size is normal."),
        "contours": (
            "Cardiomediastinal contours are normal.",
            "Normal cardiomediastinal contours.",
            "The mediastinum is normal.",
        ),
        "clear lungs": ("The lungs are clear.", "Lungs are clear.", "Clear lungs."),
        "edema": ("No pulmonary edema.", "There is no pulmonary edema."),
        "consolidation": ("No focal consolidation.", "There is no focal consolidation."),
        "pneumonia": ("No evidence of pneumonia.", "No pneumonia."),
        "lesion": ("No pulmonary nodule.", "No lung nodule or mass."),
        "pleura": (
            "No pneumothorax or pleural effusion.",
            "No pleural effusion or pneumothorax.",
            "There is no pleural effusion or pneumothorax.",
        ),
        "consolidation and pleura": ("No focal consolidation, pleural effusion, or pneumothorax.",),
        "pneumothorax": ("No pneumothorax.", "There is no pneumothorax."),
        "effusion": ("No pleural effusion.", "There is no pleural effusion."),
        "fracture": ("No acute fracture.", "No rib fracture.", "No displaced rib fracture."),
        "bones": ("The bones are intact.", "Bones are intact.", "No acute osseous abnormality."),
        "normal": (
            "No acute cardiopulmonary process.",
            "No acute cardiopulmonary abnormality.",
            "There is no acute cardiopulmonary process.",
        ),
    },
)

DENIED: Mapping[str, tuple[Observation, ...]] = {
    "heart size": (_O.CARDIOMEGALY,),
    "contours": (_O.ENLARGED_CARDIOMEDIASTINUM,),
    "edema": (_O.EDEMA,),
    "consolidation": (_O.CONSOLIDATION,),
    "pneumonia": (_O.PNEUMONIA,),
    "lesion": (_O.LUNG_LESION,),
    "pleura": (_O.PLEURAL_EFFUSION, _O.PNEUMOTHORAX),
    "consolidation and pleura": (_O.CONSOLIDATION, _O.PLEURAL_EFFUSION, _O.PNEUMOTHORAX),
    "pneumothorax": (_O.PNEUMOTHORAX,),
    "effusion": (_O.PLEURAL_EFFUSION,),
    "fracture": (_O.FRACTURE,),
    # Of the lungs or the bones as a whole, and of everything: no observation by name.
    "clear lungs": (),
    "bones": (),
    "normal": (),
}
"""What the denials of each name deny."""

CHANGED: Mapping[Change, tuple[str, ...]] = {
    Change.NEW: ("New {bare}.", "{Bare} {be} new."),
    Change.LARGER: ("Worsened {bare}.", "{Bare} {have} worsened."),
    Change.SMALLER: ("Improved {bare}.", "{Bare} {have} improved."),
    Change.UNCHANGED: ("{Bare} {be} unchanged.",),
    Change.RESOLVED: ("Resolved {bare}.",),
}
"""The sentences of a follow-up, in the plain wording."""
REMOVED = ("{Bare} {have} been removed.",)
"""Of a device that has resolved."""

GRADES: Mapping[str, tuple[str, str, str]] = {
    "size": ("small", "moderate", "large"),
    "degree": ("mild", "moderate", "severe"),
    "degree_ly": ("mildly", "moderately", "severely"),
    "extent": ("mild", "moderate", "marked"),
    "extent_ly": ("mildly", "moderately", "markedly"),
}
_SEVERITIES = (Severity.MILD, Severity.MODERATE, Severity.SEVERE)
_FIXED: Mapping[str, Mapping[str, Any]] = {
    "both": {"side": Side.BILATERAL},
    "bilateral": {"side": Side.BILATERAL},
    "bibasilar": {"side": Side.BILATERAL, "place": Place.BASE},
    "basilar": {"place": Place.BASE},
    "base": {"place": Place.BASE},
    "bases": {"place": Place.BASE},
    "apical": {"place": Place.APEX},
}


def phrases_of(finding: Finding, phrases: Phrases = PHRASES) -> tuple[str, ...]:
    """The noun phrases that a finding can have, their words in braces not yet chosen."""
    rows = phrases[finding.observation]
    if len(rows) == len(_SEVERITIES):
        return rows[finding.severity]
    return rows[-1] if finding.side == "both" else rows[0]


def fill(phrase: str, finding: Finding) -> tuple[str, Attributes]:
    """A finding's noun phrase with its words chosen, and what the phrase states, as of something certain."""
    words: dict[str, str] = {}
    stated: dict[str, Any] = {}
    for _, name, _, _ in _PARSE(phrase):
        if name:
            words[name], attributes = _word(name, finding)
            stated.update(attributes)
    return phrase.format_map(words), Attributes(Certainty.CERTAIN, **stated)


def forms(phrase: str) -> dict[str, str]:
    """What stands for the braces of a sentence about a filled noun phrase: with its article and without, its verbs."""
    be, have = ("are", "have") if phrase.startswith("+") else ("is", "has")
    phrase = phrase.removeprefix("+")
    bare = phrase.removeprefix("a ").removeprefix("an ")
    capitalised = {"Bare": bare[0].upper() + bare[1:], "Phrase": phrase[0].upper() + phrase[1:]}
    return {"bare": bare, "phrase": phrase, "be": be, "have": have, **capitalised}


def _word(name: str, finding: Finding) -> tuple[str, Mapping[str, Any]]:
    if name in GRADES:
        return GRADES[name][finding.severity], {"severity": _SEVERITIES[finding.severity]}
    if name == "side":
        return finding.side, {"side": Side(finding.side)}
    if name == "zone":
        return finding.zone, {"place": Place(finding.zone)}
    return name, _FIXED[name]
