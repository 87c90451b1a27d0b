"""The rich wording: every statement in five ways or more, among sentences that tell nothing of the image's findings.

No aside names one of the 14 observations or another abnormality that a CheXpert-style labeler counts against No
Finding (it counts degenerative and calcified things, not a tortuous aorta or spondylosis).
"""

from collections.abc import Mapping
from typing import Literal

from orapo.chexpert import Observation
from orapo.data.phantoms.wordings import PLAIN, Frames, Wording
from orapo.labeler import Certainty

_O = Observation
_LUNG = "{side} {zone} lung"

_PHRASES: Mapping[Observation, tuple[tuple[str, ...], ...]] = {
    _O.SUPPORT_DEVICES: (
        (
            "a {side} central venous catheter",
            "a {side} internal jugular catheter",
            "a {side} central venous line",
            "a {side} subclavian catheter",
            "a central venous catheter on the {side}",
        ),
        (
            "a {side} chest pacemaker",
            "a pacemaker on the {side}",
            "a {side} pectoral pacemaker",
            "a {side} dual chamber pacemaker",
            "a pacemaker over the {side} chest",
        ),
        (
            "an endotracheal tube",
            "an endotracheal tube above the carina",
            "an endotracheal tube in standard position",
            "an appropriately placed endotracheal tube",
            "a well positioned endotracheal tube",
        ),
    ),
    _O.CARDIOMEGALY: (
        (
            "{degree} cardiomegaly",
            "a {degree_ly} enlarged heart",
            "{degree} enlargement of the heart",
            "{degree} cardiac enlargement",
            "a {degree_ly} enlarged cardiac silhouette",
        ),
    ),
    _O.ENLARGED_CARDIOMEDIASTINUM: (
        (
            "a {extent_ly} widened mediastinum",
            "{extent} widening of the mediastinum",
            "a {extent_ly} enlarged cardiomediastinum",
            "{extent} mediastinal widening",
            "a {extent_ly} enlarged mediastinum",
        ),
    ),
    _O.EDEMA: (
        (
            "{degree} pulmonary edema",
            "{degree} edema in {both} lungs",
            "{degree} {bilateral} pulmonary edema",
            "{degree} interstitial edema",
            "{degree} interstitial edema of {both} lungs",
        ),
    ),
    _O.CONSOLIDATION: (
        (
            f"dense consolidation in the {_LUNG}",
            f"focal consolidation in the {_LUNG}",
            f"{_LUNG} consolidation",
            f"an area of consolidation in the {_LUNG}",
            f"confluent consolidation of the {_LUNG}",
        ),
    ),
    _O.LUNG_OPACITY: (
        (
            f"a {{size}} opacity in the {_LUNG}",
            f"a hazy opacity in the {_LUNG}",
            f"a hazy {_LUNG} opacity",
            f"an ill defined opacity in the {_LUNG}",
            f"a {{size}} area of opacity in the {_LUNG}",
        ),
    ),
    _O.PNEUMONIA: (
        (
            f"pneumonia in the {_LUNG}",
            f"patchy pneumonia in the {_LUNG}",
            f"{_LUNG} pneumonia",
            f"focal pneumonia of the {_LUNG}",
            f"lobar pneumonia in the {_LUNG}",
        ),
    ),
    _O.LUNG_LESION: (
        (
            f"a {{size}} nodule in the {_LUNG}",
            f"a {_LUNG} nodule",
            f"a {{size}} {_LUNG} nodule",
            f"a {{size}} pulmonary nodule in the {_LUNG}",
            f"a solitary nodule of the {_LUNG}",
        ),
        (
            f"a round nodule in the {_LUNG}",
            f"a {_LUNG} nodule",
            f"a round {_LUNG} nodule",
            f"a round pulmonary nodule in the {_LUNG}",
            f"a solitary nodule of the {_LUNG}",
        ),
        (
            f"a {{size}} mass in the {_LUNG}",
            f"a {_LUNG} mass",
            f"a {{size}} {_LUNG} mass",
            f"a {{size}} pulmonary mass in the {_LUNG}",
            f"a solitary mass of the {_LUNG}",
        ),
    ),
    _O.ATELECTASIS: (
        (
            "{extent} {side} {basilar} atelectasis",
            "subsegmental atelectasis at the {side} lung {base}",
            "streaky {side} {basilar} atelectasis",
            "linear atelectasis at the {side} lung {base}",
            "{extent} atelectasis of the {side} lung {base}",
        ),
        (
            "{extent} {bibasilar} atelectasis",
            "atelectasis at {both} lung {bases}",
            "streaky {bibasilar} atelectasis",
            "linear {bibasilar} atelectasis",
            "{extent} atelectasis at {both} lung {bases}",
        ),
    ),
    _O.PLEURAL_EFFUSION: (
        (
            "a {size} {side} pleural effusion",
            "a {size} pleural effusion on the {side}",
            "a {size} layering {side} pleural effusion",
            "a {size} {side} sided pleural effusion",
            "a {side} pleural effusion",
        ),
        (
            "+{size} {bilateral} pleural effusions",
            "+{bilateral} pleural effusions",
            "+layering {bilateral} pleural effusions",
            "+{size} layering {bilateral} pleural effusions",
            "+{size} pleural effusions on {both} sides",
        ),
    ),
    _O.PNEUMOTHORAX: (
        (
            "a {size} {side} pneumothorax",
            "a {size} pneumothorax on the {side}",
            "a {size} {side} {apical} pneumothorax",
            "a {size} {side} sided pneumothorax",
            "a {side} {apical} pneumothorax",
        ),
    ),
    _O.PLEURAL_OTHER: (
        (
            "{extent} {side} pleural thickening",
            "{extent} pleural thickening on the {side}",
            "{side} lateral pleural thickening",
            "smooth pleural thickening on the {side}",
            "{extent} thickening of the {side} pleura",
        ),
    ),
    _O.FRACTURE: (
        (
            "a displaced {side} rib fracture",
            "an acute {side} rib fracture",
            "a fracture of a {side} rib",
            "a recent {side} rib fracture",
            "a fracture of a {side} lateral rib",
        ),
    ),
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
    phrases=_PHRASES,
    frames=_FRAMES,
    device_frames=(*_FRAMES[:-1], (1.0, "{Phrase} {be} in place.", Certainty.CERTAIN)),
    hedges=_HEDGES,
    denials={
        "heart size": (
            "Heart size is normal.",
            "The heart is normal in size.",
            "The heart size is within normal limits.",
            "No cardiomegaly.",
            "The cardiac silhouette is not enlarged.",
        ),
        "contours": (
            "Cardiomediastinal contours are normal.",
            "Normal cardiomediastinal contours.",
            "The mediastinum is normal.",
            "The mediastinum is not widened.",
            "No mediastinal widening.",
        ),
        "clear lungs": (
            "The lungs are clear.",
            "Lungs are clear.",
            "Clear lungs.",
            "Both lungs are clear.",
            "The lungs are well aerated and clear.",
        ),
        "edema": (
            "No pulmonary edema.",
            "There is no pulmonary edema.",
            "No evidence of pulmonary edema.",
            "The lungs are free of edema.",
            "Pulmonary edema is not seen.",
        ),
        "consolidation": (
            "No focal consolidation.",
            "There is no focal consolidation.",
            "No evidence of consolidation.",
            "The lungs are free of consolidation.",
            "Focal consolidation is not seen.",
        ),
        "pneumonia": (
            "No evidence of pneumonia.",
            "No pneumonia.",
            "There is no pneumonia.",
            "No radiographic evidence of pneumonia.",
            "Pneumonia is not seen.",
        ),
        "lesion": (
            "No pulmonary nodule.",
            "No lung nodule or mass.",
            "There is no pulmonary nodule or mass.",
            "No suspicious nodule.",
            "A pulmonary nodule is not seen.",
        ),
        "pleura": (
            "No pneumothorax or pleural effusion.",
            "No pleural effusion or pneumothorax.",
            "There is no pleural effusion or pneumothorax.",
            "Neither pneumothorax nor pleural effusion is seen.",
            "No evidence of pneumothorax or pleural effusion.",
        ),
        "consolidation and pleura": (
            "No focal consolidation, pleural effusion, or pneumothorax.",
            "There is no consolidation, pleural effusion, or pneumothorax.",
            "No evidence of consolidation, pleural effusion, or pneumothorax.",
            "No pneumothorax, pleural effusion, or focal consolidation.",
            "Without consolidation, pleural effusion, or pneumothorax.",
        ),
        "pneumothorax": (
            "No pneumothorax.",
            "There is no pneumothorax.",
            "No evidence of pneumothorax.",
            "A pneumothorax is not seen.",
            "No visible pneumothorax.",
        ),
        "effusion": (
            "No pleural effusion.",
            "There is no pleural effusion.",
            "No evidence of pleural effusion.",
            "A pleural effusion is not seen.",
            "No visible pleural effusion.",
        ),
        "fracture": (
            "No acute fracture.",
            "No rib fracture.",
            "No displaced rib fracture.",
            "There is no acute fracture.",
            "A rib fracture is not seen.",
        ),
        "bones": (
            "The bones are intact.",
            "Bones are intact.",
            "No acute osseous abnormality.",
            "The osseous structures are intact.",
            "The skeleton is unremarkable.",
        ),
        "normal": (
            "No acute cardiopulmonary process.",
            "No acute cardiopulmonary abnormality.",
            "There is no acute cardiopulmonary process.",
            "No acute cardiopulmonary disease.",
            "No evidence of an acute cardiopulmonary process.",
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
