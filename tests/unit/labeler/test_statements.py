"""Whole statements in the manner of real reports, with the states of all 14 observations.

Expectations are written as codes: "PE+ PT- CM?" is effusion positive, pneumothorax negative, cardiomegaly uncertain, and
every observation without a code unmentioned (No Finding included: "NF+" where it holds).
"""

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.labeler import Labeler

_CODES = dict(zip(OBSERVATIONS, "NF EC CM LL LO ED CO PN AT PT PE PO FX SD".split(), strict=True))
_SIGNS = {LabelState.POSITIVE: "+", LabelState.NEGATIVE: "-", LabelState.UNCERTAIN: "?"}

NEGATION = """
No focal consolidation, effusion or pneumothorax. | NF+ CO- PT- PE-
No focal consolidation, pleural effusion, or pneumothorax is seen. | NF+ CO- PT- PE-
There is no focal consolidation, pneumothorax, pleural effusion. | NF+ CO- PT- PE-
No consolidation, no effusion, no pneumothorax. | NF+ CO- PT- PE-
Right effusion without pneumothorax. | PT- PE+
No pneumothorax. small effusion | PT- PE+
No effusion but there is consolidation. | PE- CO+
No effusion, but small left pneumothorax. | PE- PT+
No pneumothorax; small effusion. | PE+ PT-
No pneumothorax, small left effusion. | PE+ PT-
No pneumothorax with a small left effusion. | PE+ PT-
No pneumothorax and a small effusion. | PE+ PT-
No pneumothorax and moderate cardiomegaly. | CM+ PT-
No pneumothorax, mild bibasilar atelectasis. | PT- AT+
No pneumothorax, effusion is unchanged. | PT- PE+
No pneumothorax, stable cardiomegaly. | PT- CM+
No evidence of pneumonia or edema. | NF+ PN- ED-
There is no radiographic evidence for acute pneumonia, congestive heart failure, or pleural effusion. | NF+ PN- ED- PE-
Pneumothorax has resolved. | NF+ PT-
The left effusion has completely resolved. | NF+ PE-
Interval resolution of the right pneumothorax. | NF+ PT-
Near complete resolution of the right effusion. | PE+
The pneumothorax has not resolved. | PT+
Resolving right lower lobe pneumonia. | PN+
The left effusion is no longer seen. | NF+ PE-
Pneumothorax is no longer visualized. | NF+ PT-
There is no longer a pneumothorax. | NF+ PT-
Pneumothorax is not seen. | NF+ PT-
Effusion and pneumothorax are not identified. | NF+ PE- PT-
A pneumothorax is not definitely identified. | NF+ PT-
Lungs are clear of consolidation. | NF+ CO-
The lungs are free of focal consolidation, effusion, or pneumothorax. | NF+ CO- PE- PT-
Negative for pneumonia. | NF+ PN-
The chest is negative for pneumothorax or effusion. | NF+ PT- PE-
Neither effusion nor pneumothorax is present. | NF+ PE- PT-
No displaced rib fracture. | NF+ FX-
No acute displaced rib fractures are identified. | NF+ FX-
No nodules or masses. | NF+ LL-
No suspicious pulmonary nodule, mass, or infiltrate. | NF+ LL- LO-
No focal airspace disease. | NF+ LO-
No focal airspace consolidations. | NF+ CO-
No focal opacity to suggest pneumonia. | NF+ LO- PN-
No opacities concerning for pneumonia. | NF+ LO- PN-
No findings consistent with pneumonia. | NF+ PN-
No large effusion. | NF+ PE-
Without focal infiltrate. | NF+ LO-
The lungs are clear without infiltrate, effusion, or edema. | NF+ LO- PE- ED-
No acute infiltrate and no pleural fluid. | NF+ LO- PE-
Pneumothorax: none. | NF+ PT-
Pleural effusion: absent. | NF+ PE-
The lungs do not demonstrate any consolidation. | NF+ CO-
Opacity represents scarring rather than consolidation. | LO+ CO-
Absence of pneumothorax. | NF+ PT-
Left lower lobe atelectasis, no pneumonia. | AT+ PN-
Small effusion on the left, none on the right, no pneumothorax. | PE+ PT-
No overt edema, though small effusions persist. | ED- PE+
No acute process except for a small effusion. | PE+
No acute abnormality other than mild atelectasis. | AT+
Chest tube has been removed. | NF+ SD-
Chest tube has been removed without pneumothorax. | NF+ SD- PT-
Interval removal of the endotracheal tube. | NF+ SD-
No pneumothorax after chest tube removal. | NF+ PT- SD+
Right chest tube in place, no pneumothorax. | NF+ SD+ PT-
No pneumothorax status post placement of left picc. | NF+ PT- SD+
There is no pneumothorax in the region of the right chest tube. | NF+ PT- SD+
No pneumothorax or effusion is seen and the heart is enlarged. | PT- PE- CM+
No effusion, the heart is enlarged. | PE- CM+
No effusions, heart is enlarged. | PE- CM+
No free air or pneumothorax. | NF+ PT-
No evidence of tuberculosis. | NF+
No effusion or thickening. | NF+ PE-
No lymphadenopathy or hernia. | NF+
"""

UNCERTAINTY = """
Cannot exclude a small effusion. | PE?
Pneumonia cannot be excluded. | PN?
Superimposed infection is not excluded. | PN?
A small pneumothorax cannot be entirely excluded. | PT?
Underlying consolidation can not be ruled out. | CO?
No new consolidation. | CO?
No evidence of new infiltrate. | LO?
Possible pneumonia. | PN?
Probable small left effusion. | PE?
Likely atelectasis at the left base. | AT?
Left basilar opacity, likely atelectasis. | LO+ AT?
Left basilar opacity which may represent atelectasis or pneumonia. | LO+ AT? PN?
Opacity could reflect aspiration, pneumonia or atelectasis. | LO+ PN? AT?
Bibasilar atelectasis versus infiltrate. | AT? LO?
ATELECTASIS VS CONSOLIDATION AT THE BASE. | AT? CO?
Atelectasis or infiltrate in the lingula. | AT? LO?
Atelectasis and/or consolidation in the lingula. | AT? CO?
Atelectasis/consolidation in the lingula. | AT? CO?
Findings concerning for pneumonia. | PN?
Opacity suspicious for malignancy or pneumonia. | LO+ PN?
Questionable nodule in the right apex. | LL?
? pneumonia | PN?
Pneumonia? | PN?
Early pneumonia is possible. | PN?
A small effusion may be present. | PE?
Mild edema is suspected. | ED?
Pneumonia should be considered. | PN?
Differential includes pneumonia and aspiration. | PN?
Pulmonary vascular congestion. | ED?
Mild central vascular congestion without overt edema. | ED?
Vascular congestion is present with moderate edema. | ED+
No vascular congestion. | NF+ ED-
Possible small effusion, no pneumothorax. | PE? PT-
Possible small effusion without pneumothorax. | PE? PT-
No pneumothorax and possible small effusion. | PE? PT-
No pneumothorax, likely small effusion. | PE? PT-
The left effusion is not well seen. | PE?
Rule out pneumonia. | PN?
Evaluate for pneumothorax. | PT?
Findings suggestive of mild interstitial edema. | ED?
Probable scarring or atelectasis. | LO? AT?
Chronic obstructive changes, pneumonia unlikely. | PN?
"""

POSITIVE = """
No change in the left effusion. | PE+
No significant interval change in the moderate left effusion. | PE+
No change in left effusion and no pneumothorax. | PE+ PT-
The right effusion is unchanged. | PE+
The effusion has not changed. | PE+
Findings consistent with pneumonia. | PN+
Opacity compatible with atelectasis. | LO+ AT+
Moderate bilateral pleural effusions with bibasilar atelectasis. | PE+ AT+
Increased opacity of the left base. | LO+
New right upper lobe infiltrate. | LO+
Tiny apical PTX. | PT+
Acute fractures of the left fifth through seventh ribs. | FX+
1.5 cm nodule in the left upper lobe. | LL+
Masses in both lungs. | LL+
Massive right effusion. | PE+
Complete collapse of the left lower lobe. | AT+
Interstitial oedema with small effusions. | ED+ PE+
Lobar pneumonia in the lingula with parapneumonic effusion. | PN+ PE+
Biapical pleural thickening. | PO+
Pleural plaques. | PO+
Persistent bibasilar opacities, left greater than right. | LO+
Hydropneumothorax on the right. | PT+ PE+
Findings of CHF. | CM? ED+
Congestive heart failure with cardiomegaly. | CM+ ED+
No evidence of CHF. | NF+ ED-
Mild cardiomegaly is stable. | CM+
Stable cardiomegaly. | CM+
Reticular opacities at the bases with peribronchial thickening. | LO+
Scarring in the right apex. | LO+
Nodular opacity at the right base. | LL+ LO+
Pericardial effusion. |
Calcified granuloma. |
Emphysema. |
Hyperinflated lungs without focal consolidation. | CO-
Degenerative changes of the spine. |
Tortuous aorta. |
Mild scoliosis, no pneumothorax. | PT-
Blunting of the left costophrenic angle. |
Elevated right hemidiaphragm. |
Low lung volumes. | NF+
Old granulomatous disease. |
"""

HEART = """
Heart size and mediastinum are normal. | NF+ CM- EC-
Heart and mediastinum normal. | NF+ CM- EC-
The heart is normal in size. The mediastinum is unremarkable. | NF+ CM- EC-
The cardiomediastinal silhouette is within normal limits. | NF+ EC-
Unremarkable cardiomediastinal silhouette. | NF+ EC-
The cardiac and mediastinal silhouettes are unremarkable. | NF+ CM- EC-
Heart size, mediastinal contours and hila are within normal limits. | NF+ CM- EC-
The heart size and pulmonary vascularity appear within normal limits. | NF+ CM-
Heart size is enlarged, pulmonary vascularity within normal limits. | CM+
The cardiac silhouette is mildly enlarged. | CM+
Mild enlargement of the cardiac silhouette. | CM+
Enlarged heart. | CM+
Heart enlarged, mediastinum normal. | CM+ EC-
Normal heart size with clear lungs. | NF+ CM-
Normal heart size and mediastinal contours. | NF+ CM- EC-
Normal cardiac silhouette. | NF+ CM-
The heart is not enlarged. | NF+ CM-
Heart size is not enlarged. | NF+ CM-
No cardiomegaly. | NF+ CM-
No cardiac enlargement. | NF+ CM-
Heart size is upper limits of normal. | NF+ CM-
Heart size is top normal. | NF+ CM-
Heart size is borderline. | CM?
Borderline cardiomegaly. | CM?
Borderline heart size. | CM?
Stable heart size. | CM?
Heart size is stable. | CM?
The cardiomediastinal silhouette is stable. | EC?
Cardiomediastinal silhouette is unchanged from prior. | EC?
Stable cardiomediastinal silhouette, no effusion. | EC? PE-
Heart size is stable and within normal limits. | NF+ CM-
Stable enlarged cardiac silhouette. | CM+
The heart remains enlarged, unchanged. | CM+
Unchanged enlargement of the cardiac silhouette. | CM+
No significant change in heart size. | CM?
No mediastinal widening. | NF+ EC-
The mediastinum is widened. | EC+
Widened mediastinum. | EC+
Lungs are clear and the heart is normal. | NF+ CM-
Lungs are clear, heart size is mildly enlarged. | CM+
Normal lungs, enlarged heart. | CM+
Cardiac silhouette is obscured by the effusion. | CM? PE+
The heart size is difficult to assess. | CM?
Catheter tip projects over the heart. | NF+ SD+
Left heart border is sharp. | NF+
The lungs are clear. The cardiac silhouette is normal in size and configuration. | NF+ CM-
Cardiomediastinal and hilar contours are normal. | NF+ EC-
Cardiac, mediastinal and hilar contours are normal. | NF+ CM- EC-
"""

DEVICES = """
Endotracheal tube tip 4 cm above the carina. | NF+ SD+
ETT and NGT in standard position. | NF+ SD+
Right IJ central line terminates in the SVC. | NF+ SD+
Right-sided PICC unchanged. | NF+ SD+
Left chest wall port-a-cath. | NF+ SD+
Dual-lead pacemaker in place. | NF+ SD+
Swan-Ganz catheter tip in the right pulmonary artery. | NF+ SD+
Lines and tubes are unchanged. | NF+ SD+
Monitoring and support devices are in place. | NF+ SD+
Prosthetic aortic valve. | NF+ SD+
Shoulder arthroplasty on the left. | NF+ SD+
The trachea is midline. | NF+
Portable chest radiograph. | NF+
Plate-like atelectasis. | AT+
Endplate osteophytes. |
Tuberculosis. |
Normal position of the endotracheal tube. | NF+ SD+
"""

MESSY = """
FINAL REPORT EXAMINATION: CHEST INDICATION: ___ year old man FINDINGS: No pneumothorax. IMPRESSION: Small effusion. | PT- PE+
1. NO PNEUMOTHORAX.2. SMALL EFFUSION 1.5 CM. 3. STABLE ET TUBE | PT- PE+ SD+
1.  LOW LUNG VOLUMES 2.  NO FOCAL CONSOLIDATION. 3. MILD EDEMA. | CO- ED+
Small effusion.No pneumothorax. | PE+ PT-
XXXX lungs are clear. No XXXX pleural effusion. XXXX pneumothorax is not seen. | NF+ PE- PT-
S/p CABG w/o pneumothorax, c/w prior. | NF+ PT-
Opacity c/w pneumonia. | LO+ PN+
R/O pneumonia | PN?
Nodule measures 1.2 cm. No effusion. | LL+ PE-
No effusion/pneumothorax. | NF+ PE- PT-
"""

ALL = [
    pytest.param(text.strip(), codes.strip(), id=text.strip())
    for block in (NEGATION, UNCERTAINTY, POSITIVE, HEART, DEVICES, MESSY)
    for text, _, codes in (line.rpartition("|") for line in block.strip().splitlines())
]
LABELER = Labeler()


@pytest.mark.parametrize(("text", "codes"), ALL)
def test_statement(text: str, codes: str) -> None:
    states = LABELER.label(text).states
    found = {_CODES[observation] + _SIGNS[state] for observation, state in states.items() if state in _SIGNS}
    assert found == set(codes.split())


def test_the_statements_are_many_and_distinct() -> None:
    assert len({parameters.values[0] for parameters in ALL}) == len(ALL) >= 200
