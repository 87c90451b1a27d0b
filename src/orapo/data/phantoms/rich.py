"""The rich wording: every statement in five ways or more, among sentences that tell nothing of the image's findings.

No aside names one of the 14 observations or another abnormality that a CheXpert-style labeler counts against No
Finding (it counts degenerative and calcified things, not a tortuous aorta or spondylosis).
"""

from collections.abc import Mapping
from typing import Literal

from orapo.chexpert import Observation
from orapo.data.phantoms.wordings import LUNG, PLAIN, Frames, Phrases, Wording
from orapo.labeler import Certainty

_O = Observation

# Beside the plain wording's own.
_MORE_PHRASES: Phrases = {
    _O.SUPPORT_DEVICES: (
        ("a {side} subclavian catheter", "a central venous catheter on the {side}"),
        ("a {side} dual chamber pacemaker", "a pacemaker over the {side} chest"),
        (
            "an endotracheal tube above the carina",
            "an endotracheal tube in standard position",
            "an appropriately placed endotracheal tube",
            "a well positioned endotracheal tube",
        ),
    ),
    _O.CARDIOMEGALY: (("{degree} cardiac enlargement", "a {degree_ly} enlarged cardiac silhouette"),),
    _O.ENLARGED_CARDIOMEDIASTINUM: (("{extent} mediastinal widening", "a {extent_ly} enlarged mediastinum"),),
    _O.EDEMA: (("{degree} interstitial edema", "{degree} interstitial edema of {both} lungs"),),
    _O.CONSOLIDATION: ((f"an area of consolidation in the {LUNG}", f"confluent consolidation of the {LUNG}"),),
    _O.LUNG_OPACITY: ((f"an ill defined opacity in the {LUNG}", f"a {{size}} area of opacity in the {LUNG}"),),
    _O.PNEUMONIA: ((f"focal pneumonia of the {LUNG}", f"lobar pneumonia in the {LUNG}"),),
    _O.LUNG_LESION: (
        (f"a {{size}} pulmonary nodule in the {LUNG}", f"a solitary nodule of the {LUNG}"),
        (f"a round pulmonary nodule in the {LUNG}", f"a solitary nodule of the {LUNG}"),
        (f"a {{size}} pulmonary mass in the {LUNG}", f"a solitary mass of the {LUNG}"),
    ),
    _O.ATELECTASIS: (
        ("linear atelectasis at the {side} lung {base}", "{extent} atelectasis of the {side} lung {base}"),
        ("linear {bibasilar} atelectasis", "{extent} atelectasis at {both} lung {bases}"),
    ),
    _O.PLEURAL_EFFUSION: (
        ("a {size} {side} sided pleural effusion", "a {side} pleural effusion"),
        ("+{size} layering {bilateral} pleural effusions", "+{size} pleural effusions on {both} sides"),
    ),
    _O.PNEUMOTHORAX: (("a {size} {side} sided pneumothorax", "a {side} {apical} pneumothorax"),),
    _O.PLEURAL_OTHER: (("smooth pleural thickening on the {side}", "{extent} thickening of the {side} pleura"),),
    _O.FRACTURE: (("a recent {side} rib fracture", "a fracture of a {side} lateral rib"),),
}
_MORE_DENIALS: Mapping[str, tuple[str, ...]] = {
    "contours": ("The mediastinum is not widened.", "No mediastinal widening."),
    "clear lungs": ("Both lungs are clear.", "The lungs are well aerated and clear."),
    "edema": ("No evidence of pulmonary edema.", "The lungs are free of edema.", "Pulmonary edema is not seen."),
    "consolidation": (
        "No evidence of consolidation.",
        "The lungs are free of consolidation.",
        "Focal consolidation is not seen.",
    ),
    "pneumonia": ("There is no pneumonia.", "No radiographic evidence of pneumonia.", "Pneumonia is not seen."),
    "lesion": ("There is no pulmonary nodule or mass.", "No suspicious nodule.", "A pulmonary nodule is not seen."),
    "pleura": (
        "Neither pneumothorax nor pleural effusion is seen.",
        "No evidence of pneumothorax or pleural effusion.",
    ),
    "consolidation and pleura": (
        "There is no consolidation, pleural effusion, or pneumothorax.",
        "No evidence of consolidation, pleural effusion, or pneumothorax.",
        "No pneumothorax, pleural effusion, or focal consolidation.",
        "Without consolidation, pleural effusion, or pneumothorax.",
    ),
    "pneumothorax": ("No evidence of pneumothorax.", "A pneumothorax is not seen.", "No visible pneumothorax."),
    "effusion": ("No evidence of pleural effusion.", "A pleural effusion is not seen.", "No visible pleural effusion."),
    "fracture": ("There is no acute fracture.", "A rib fracture is not seen."),
    "bones": ("The osseous structures are intact.", "The skeleton is unremarkable."),
    "normal": ("No acute cardiopulmonary disease.", "No evidence of an acute cardiopulmonary process."),
}

_FRAMES: Frames = (
    (0.3, "{Bare}.", Certainty.CERTAIN),
    (0.5, "There {be} {phrase}.", Certainty.CERTAIN),
    (0.65, "{Phrase} {be} seen.", Certainty.CERTAIN),
    (0.85, "The radiograph shows {phrase}.", Certainty.CERTAIN),
    (1.0, "{Phrase} {be} present.", Certainty.CERTAIN),
)
_HEDGES: Frames = (
    (0.2, "Possible {bare}.", Certainty.POSSIBLE),
    (0.4, "Suspected {bare}.", Certainty.LIKELY),
    (0.6, "Findings may represent {phrase}.", Certainty.POSSIBLE),
    (0.8, "Probable {bare}.", Certainty.LIKELY),
    (1.0, "There may be {phrase}.", Certainty.POSSIBLE),
)

RICH = Wording(
    phrases={
        observation: tuple(row + more for row, more in zip(rows, _MORE_PHRASES[observation], strict=True))
        for observation, rows in PLAIN.phrases.items()
    },
    frames=_FRAMES,
    device_frames=(*_FRAMES[:-1], (1.0, "{Phrase} {be} in place.", Certainty.CERTAIN)),
    hedges=_HEDGES,
    denials={
        **{name: PLAIN.denials[name] + more for name, more in _MORE_DENIALS.items()},
        "heart size": (
            "Heart size is normal.",
            "The heart is normal in size.",
            "The heart size is within normal limits.",
            "No cardiomegaly.",
            "The cardiac silhouette is not enlarged.",
        ),
    },
    asides={
        "view": (
            "Single frontal view of the chest.",
            "A frontal view of the chest was obtained.",
            "Frontal radiograph of the chest.",
            "Portable frontal radiograph of the chest.",
            "Upright frontal view of the chest.",
        ),
        "rotation": (
            "The patient is rotated to the left.",
            "The patient is slightly rotated to the right.",
            "Slight rotation of the patient.",
            "Evaluation is limited by patient rotation.",
            "The patient is not rotated.",
        ),
        "inspiration": (
            "The lung volumes are low.",
            "Low lung volumes.",
            "Inspiration is adequate.",
            "Shallow inspiration.",
            "There is good inspiratory effort.",
        ),
        "exposure": (
            "The exposure is adequate.",
            "The exposure is good.",
            "The radiograph is technically adequate.",
            "The film is slightly underexposed.",
            "Motion artifact limits the study.",
        ),
        "aorta": (
            "The aorta is tortuous.",
            "Tortuous thoracic aorta.",
            "Tortuosity of the descending aorta.",
            "The thoracic aorta is slightly dilated.",
            "The aortic arch is unremarkable.",
        ),
        "spine": (
            "Spondylosis of the thoracic spine.",
            "Mild thoracic spondylosis.",
            "Osteophytes of the thoracic spine.",
            "There are small osteophytes of the spine.",
            "The thoracic spine is unremarkable.",
        ),
        "soft tissues": (
            "The soft tissues are unremarkable.",
            "Unremarkable soft tissues.",
            "Overlying clothing artifact.",
            "The chest wall is unremarkable.",
            "A skin fold projects over the right chest.",
        ),
        "trachea": (
            "The trachea is central.",
            "The trachea is not deviated.",
            "Central position of the trachea.",
            "The trachea and main airways are unremarkable.",
            "The airway is unremarkable.",
        ),
        "abdomen": (
            "The upper abdomen is unremarkable.",
            "Unremarkable upper abdomen.",
            "Gas is seen in the stomach.",
            "There is bowel gas in the upper abdomen.",
            "Nonspecific bowel gas pattern.",
        ),
        "advice": (
            "Clinical correlation is recommended.",
            "Please correlate with the clinical history.",
            "A lateral view is recommended.",
            "Results were discussed by telephone.",
            "Repeat imaging is recommended.",
        ),
        "comparison": (
            "Comparison is made with the prior radiograph.",
            "Comparison with the radiograph of last week.",
            "The prior examination was reviewed.",
            "The prior radiograph is available.",
            "No prior film is available.",
        ),
    },
    copies=(
        "Prior report: {copied}",
        "From the prior report: {copied}",
        "The prior report states: {copied}",
        "As in the prior report, {copied}",
        "As on the prior film, {copied}",
    ),
    max_length=60,
)

WordingName = Literal["plain", "rich"]
WORDINGS: Mapping[WordingName, Wording] = {"plain": PLAIN, "rich": RICH}
"""By the name that a source's settings have."""
