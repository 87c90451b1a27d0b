"""The noun phrases by which a phantom report names a finding, and what each of them states of it."""

from collections.abc import Mapping
from string import Formatter
from typing import Any

from orapo.chexpert import Observation
from orapo.data.phantoms.findings import Finding
from orapo.labeler import Attributes, Certainty, Place, Severity, Side

_O = Observation
_LUNG = "{side} {zone} lung"
_PARSE = Formatter().parse

# A noun phrase starts with "a "/"an " when it is countable and singular, with "+" when it is plural. A word in braces
# states an attribute. Of several rows the finding's severity chooses, or whether it is on both sides.
WORDINGS: Mapping[Observation, tuple[tuple[str, ...], ...]] = {
    _O.SUPPORT_DEVICES: (
        ("a {side} central venous catheter", "a {side} internal jugular catheter", "a {side} central venous line"),
        ("a {side} chest pacemaker", "a pacemaker on the {side}", "a {side} pectoral pacemaker"),
        ("an endotracheal tube", "an endotracheal tube", "an endotracheal tube"),
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
        (f"dense consolidation in the {_LUNG}", f"focal consolidation in the {_LUNG}", f"{_LUNG} consolidation"),
    ),
    _O.LUNG_OPACITY: (
        (f"a {{size}} opacity in the {_LUNG}", f"a hazy opacity in the {_LUNG}", f"a hazy {_LUNG} opacity"),
    ),
    _O.PNEUMONIA: ((f"pneumonia in the {_LUNG}", f"patchy pneumonia in the {_LUNG}", f"{_LUNG} pneumonia"),),
    _O.LUNG_LESION: (
        (f"a {{size}} nodule in the {_LUNG}", f"a {_LUNG} nodule", f"a {{size}} {_LUNG} nodule"),
        (f"a round nodule in the {_LUNG}", f"a {_LUNG} nodule", f"a round {_LUNG} nodule"),
        (f"a {{size}} mass in the {_LUNG}", f"a {_LUNG} mass", f"a {{size}} {_LUNG} mass"),
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

_GRADES: Mapping[str, tuple[str, str, str]] = {
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


def wordings_of(finding: Finding) -> tuple[str, ...]:
    """The wordings that a finding can have, their words in braces not yet chosen."""
    rows = WORDINGS[finding.observation]
    if len(rows) == len(_SEVERITIES):
        return rows[finding.severity]
    return rows[-1] if finding.side == "both" else rows[0]


def fill(wording: str, finding: Finding) -> tuple[str, Attributes]:
    """The noun phrase of a finding in one of its wordings and what the phrase states, as of something certain."""
    words: dict[str, str] = {}
    stated: dict[str, Any] = {}
    for _, name, _, _ in _PARSE(wording):
        if name:
            words[name], attributes = _word(name, finding)
            stated.update(attributes)
    return wording.format_map(words), Attributes(Certainty.CERTAIN, **stated)


def _word(name: str, finding: Finding) -> tuple[str, Mapping[str, Any]]:
    if name in _GRADES:
        return _GRADES[name][finding.severity], {"severity": _SEVERITIES[finding.severity]}
    if name == "side":
        return finding.side, {"side": Side(finding.side)}
    if name == "zone":
        return finding.zone, {"place": Place(finding.zone)}
    return name, _FIXED[name]
