"""Ordinary radiology prose, written for this test: telegraphic, listed, hedged, with devices and comparisons."""

import pytest

from orapo.labeler import Labeler
from orapo.reward.facts import REPEATED, extract_facts, read_statement

PROSE = """
Small left pleural effusion.
No acute cardiopulmonary process.
There is a moderate right pneumothorax with volume loss.
ETT tip above the carina.
Heart is mildly enlarged.
Stable cardiomegaly with mild pulmonary edema.
The lungs are clear.
No focal consolidation, pleural effusion, or pneumothorax.
No effusion or pneumothorax is seen.
No pleural effusion or pneumothorax is identified.
Heart size is normal.
Heart size normal.
Heart size normal, mediastinal contours unremarkable.
The cardiomediastinal silhouette is within normal limits.
The cardiac and mediastinal contours are stable.
The lungs are clear without focal consolidation, effusion, or edema.
There is no evidence of pneumonia.
Right-sided PICC terminates in the mid SVC.
An endotracheal tube terminates 4 cm above the carina.
Endotracheal tube tip is 4.5 cm above the carina.
Enteric tube courses below the diaphragm and out of view.
Left-sided dual-chamber pacemaker with leads terminating in the right atrium and right ventricle.
Bibasilar opacities likely reflect atelectasis.
Left lower lobe opacity may represent atelectasis or pneumonia.
Opacity at the right base, which could represent pneumonia.
Opacity at the left base is concerning for pneumonia in the appropriate clinical setting.
Small bilateral pleural effusions, left greater than right.
Left greater than right pleural effusions.
Interval increase in the left pleural effusion with adjacent atelectasis.
Compared to the prior study, the right effusion has decreased in size.
As compared to the previous radiograph, there is no relevant change.
Mild pulmonary vascular congestion without overt edema.
No displaced rib fracture.
Old healed left rib fractures.
Degenerative changes are seen in the thoracic spine.
The aorta is tortuous and calcified.
Median sternotomy wires are intact.
The patient is status post median sternotomy and CABG.
Low lung volumes with bronchovascular crowding.
Lung volumes are low.
The right costophrenic angle is blunted, which may represent a small effusion or pleural thickening.
Blunting of the left costophrenic angle suggests a small pleural effusion.
There is persistent left retrocardiac opacity, consistent with atelectasis and/or consolidation.
Pulmonary edema has improved.
No pneumothorax after chest tube removal.
The heart is normal in size and the lungs are clear.
The lungs are clear and the heart is not enlarged.
Heart is top normal in size.
Moderate cardiomegaly is unchanged, and there is mild pulmonary edema.
Right basilar chest tube remains in place.
A nodule in the right upper lobe measures 8 mm.
Recommend follow-up chest CT for evaluation of the right upper lobe nodule.
No subdiaphragmatic free air is seen.
Bony structures are intact.
Hyperinflated lungs with flattened diaphragms, consistent with COPD.
Subtle opacity in the right lower lobe, unchanged from prior.
Again seen is a large right pleural effusion.
There are small bilateral pleural effusions and mild bibasilar atelectasis.
In the left lower lung, there is a new consolidation worrisome for pneumonia.
A right internal jugular central venous catheter ends in the low SVC.
Pleural thickening along the right lateral chest wall.
Biapical pleural scarring is noted.
Possible small left effusion.
Findings may represent a small left pleural effusion.
Pneumonia cannot be excluded.
Underlying infection is not excluded.
Mild enlargement of the cardiac silhouette.
Widened mediastinum.
The mediastinum is not widened.
Trachea is midline.
Nasogastric tube in the stomach.
Dual-lead pacemaker in place.
Left chest wall pacemaker.
Unchanged.
No change.
Clear lungs.
Normal heart size, mediastinal and hilar contours.
Mediastinal and hilar contours are unremarkable.
The hilar and pleural surfaces are normal.
Surgical clips project over the left axilla.
There may be a small left pleural effusion.
Patchy opacities in the lung bases may reflect atelectasis, but infection cannot be excluded.
There has been interval placement of a right chest tube.
There is no large pleural effusion or pneumothorax.
Bilateral hazy opacities compatible with moderate pulmonary edema.
Right upper lobe mass is suspicious for malignancy.
No acute osseous abnormalities.
No free air below the right hemidiaphragm is seen.
The left lung is clear.
Lungs: Clear.
Pneumothorax: none.
The previously seen right apical pneumothorax is no longer visible.
Interval removal of the endotracheal tube.
Worsening bilateral airspace opacities.
The lungs are well expanded and clear.
The lungs are hyperinflated but clear.
Cardiac silhouette is enlarged, similar to prior.
There is moderate enlargement of the cardiac silhouette with mild interstitial edema and small bilateral effusions.
Retrocardiac opacity with obscuration of the left hemidiaphragm.
A left lower lung nodule is seen.
Linear atelectasis at the left base.
Fracture of the right fifth rib.
A fracture of a left rib is seen.
A fracture of the left clavicle is seen.
The heart is normal in size.
Cardiac size is normal.
The cardiac silhouette is mildly enlarged and there is vascular congestion.
Compression fractures of the lower thoracic spine.
Left pleural effusion with associated basal atelectasis.
Small right effusion and basal atelectasis are again noted.
Layering left effusion.
The lungs are otherwise clear.
Lungs are grossly clear.
The visualized osseous structures are unremarkable.
No pneumothorax.
Elevation of the right hemidiaphragm is unchanged.
There is a broken left rib.
Devices are in place.
The cardiomediastinal and hilar contours are within normal limits.
Frontal and lateral views of the chest were obtained.
PA and lateral chest radiographs were provided.
There is no overt pulmonary edema.
The heart size is top normal.
The heart remains moderately enlarged.
Left lower lobe collapse with small left effusion is unchanged.
Right internal jugular line tip is in the mid SVC.
NG tube tip is in the stomach.
Tracheostomy tube is in standard position.
Monitoring and support devices are unchanged.
Bilateral pleural effusions have increased, right greater than left.
Increased opacity in the left lower lobe may be due to atelectasis, aspiration or pneumonia.
There is a 1.5 cm nodule in the left upper lobe, which is new since the prior study.
Compared with the prior radiograph from ___, there is interval improvement in pulmonary edema.
Sternotomy wires and mediastinal clips are again noted.
Patient is status post right upper lobectomy.
Focal opacity in the right middle lobe is worrisome for pneumonia.
Mild cardiomegaly without pulmonary edema.
There is mild to moderate pulmonary edema with bilateral pleural effusions.
The right lung is essentially clear.
No focal opacity to suggest pneumonia.
No evidence of acute intrathoracic process.
Mild bibasilar atelectasis is present.
Lung volumes are low, accentuating the cardiac silhouette.
Multiple old right-sided rib fractures are again seen.
There is no evidence of free intraperitoneal air.
Chest tube in place with small residual right apical pneumothorax.
Diffuse interstitial opacities could reflect edema or atypical infection.
Hazy opacity projecting over the left lower lung.
The left hemidiaphragm is obscured, suggesting atelectasis or effusion.
ICD leads are in unchanged position.
Aortic knob calcifications are noted.
The endotracheal tube has been removed.
A small right pneumothorax persists.
Pulmonary vasculature is not engorged.
The pulmonary vascularity is normal.
No consolidation, pneumothorax or pleural effusion.
There is slight blunting of the right costophrenic angle.
Dense retrocardiac opacity silhouetting the left hemidiaphragm, likely atelectasis.
An element of pulmonary edema is likely.
Bones are diffusely demineralized.
There is pulmonary vascular congestion and cardiomegaly.
Small to moderate left pleural effusion.
Large right pneumothorax with mediastinal shift to the left.
Chronic right-sided pleural thickening is stable.
Calcified granuloma in the right apex.
The left-sided PICC line is unchanged in position with the tip in the SVC.
The lungs are clear; no effusion is present.
The lungs are hyperexpanded but otherwise clear.
Consolidation in the right upper and middle lobes is consistent with pneumonia.
Acute fracture of the left clavicle.
Nodular opacity projecting over the right mid lung may represent a nipple shadow.
Although there is no focal consolidation, infection cannot be excluded.
If clinically indicated, repeat radiograph is recommended.
Findings were discussed with the referring physician.
Probable small right pleural effusion.
No change in the appearance of the chest.
Little change in the small right effusion.
Overall, there is slight improvement in bibasilar aeration.
Opacification of the left hemithorax is complete.
The chest is hyperinflated.
Mild degenerative changes of the thoracic spine are noted.
No bony abnormality is detected.
The osseous structures are intact.
Evidence of old granulomatous disease.
Rounded density at the left base may be a nodule.
Right pleural effusion has slightly decreased in size, now small.
The tube should be withdrawn 2 cm.
Right PICC tip is at the cavoatrial junction.
Opacities in the right lung have worsened.
There is volume loss in the left lower lobe.
Bibasilar atelectasis, left greater than right.
Pneumothorax is not seen.
Cardiomegaly and pulmonary edema are both unchanged.
Pleural effusions are small.
The left basilar opacity has resolved.
Vascular engorgement and mild interstitial edema.
Bilateral perihilar haziness and Kerley B lines are in keeping with interstitial edema.
The tip of the left subclavian line lies in the upper right atrium.
There is near complete opacification of the left hemithorax with leftward shift of the mediastinum.
Cavitary lesion in the left upper lobe measuring 3.2 x 2.8 cm.
Blunting of both costophrenic angles, consistent with small effusions.
No pneumothorax following removal of the left chest tube.
Airspace disease in the right lower lobe has progressed since yesterday.
Unchanged position of the pacemaker leads.
The heart is borderline in size, but the lungs remain clear.
Patchy right basilar opacity may reflect early infiltrate in the correct clinical context.
Old granulomatous disease with calcified hilar nodes.
There is no definite consolidation, although the left base is poorly evaluated.
Marked thoracic kyphosis limits evaluation.
Healing fractures of the right sixth through eighth ribs.
The esophageal tube passes into the stomach, and its side port is below the gastroesophageal junction.
Emphysematous changes are most pronounced in the upper lobes.
Multiple pulmonary nodules, the largest of which measures 14 mm in the right middle lobe.
The mediastinal contour is widened, possibly due to patient rotation.
Interval development of a moderate right-sided pleural effusion.
Subcutaneous emphysema along the left chest wall is decreased.
Persistent elevation of the right hemidiaphragm with basilar atelectasis.
Left perihilar mass with postobstructive collapse of the left upper lobe.
No significant interval change.
Prominent pulmonary arteries suggest pulmonary hypertension.
Faint nodular density over the left fifth anterior rib, probably a nipple shadow.
A left pleural drain has been placed, with near resolution of the effusion.
Both lungs are clear.
Cardiac silhouette remains mildly enlarged but stable.
The right hilum is prominent, unchanged since 2019.
Lines and tubes are in standard position.
Right lung base opacity, which has increased, is concerning for aspiration.
Tiny left apical pneumothorax is again seen.
Lateral view shows a small amount of fluid in the major fissure.
Dense calcified pleural plaques bilaterally.
The thoracic aorta is unfolded.
No rib fractures identified.
Pneumonia is unlikely.
Severe scoliosis of the thoracic spine.
Sternal wires appear intact.
Low lung volumes accentuate the bronchovascular markings.
The effusion has decreased slightly in size.
Neither effusion nor pneumothorax is seen.
The effusion is moderate in size and partly loculated.
Pneumonia can't be excluded.
The left lower lobe is consolidated because of aspiration.
The radiograph was obtained with the patient supine.
Surgical changes of prior CABG are again demonstrated.
The cardiac silhouette is at the upper limits of normal.
Since yesterday the tube has been pulled back slightly.
There is no consolidation except in the lingula.
The tip lies in the upper right atrium.
""".strip().splitlines()


@pytest.mark.parametrize("sentence", PROSE)
def test_ordinary_prose_is_read(sentence: str) -> None:
    read = read_statement(sentence.removesuffix("."))
    assert read.clauses, read.reason


def test_long_telegraphic_sentence_is_read() -> None:
    sentence = (
        "Multiple small bilateral areas of patchy confluent opacification, including a discrete rounded opacity in the "
        "right lower zone."
    )
    assert [fact.text for fact in extract_facts(sentence, ()).facts] == [sentence.removesuffix(".")]


def test_the_whole_page_keeps_its_sentence_numbers() -> None:
    report = " ".join(PROSE)
    extracted = extract_facts(report, Labeler().mentions(report))
    assert set(extracted.rejected.values()) <= {REPEATED}
    assert max(fact.sentence_index for fact in extracted.facts) == len(PROSE) - 1
