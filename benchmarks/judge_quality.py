"""How well the offline judge tells statements from word salad, and how long a step's reward takes.

Two sets of sentences in radiologists' style, and corruptions of each. A sentence is admitted when the judge rejects
nothing of it, and paid when a study with an effusion and edema earns anything by it. A word left out often leaves good
English. Usage: python benchmarks/judge_quality.py
"""

import random
import time
from collections.abc import Callable

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.phantoms import PhantomSource
from orapo.records import Split
from orapo.reward import FactScoreReward, OfflineJudge
from orapo.reward.facts import read_statement

NUM_ROLLOUTS = 128
TARGET_SECONDS = 0.05
"""For the reward of so many rollouts."""
NUM_CORRUPTIONS = 20
"""Of each sentence and kind; those that change nothing are left out."""
NUM_PASSES = 5

FIRST = """
The cardiomediastinal silhouette is within normal limits.
Heart size is mildly enlarged, stable compared to prior.
There is a small left-sided pleural effusion with adjacent atelectasis.
Bibasilar opacities may reflect atelectasis versus aspiration.
Interval removal of the endotracheal tube.
A right internal jugular central venous catheter terminates in the mid SVC.
No pneumothorax is identified.
The patient is status post median sternotomy and CABG.
Low lung volumes accentuate the bronchovascular markings.
Lungs are hyperinflated with flattening of the diaphragms, consistent with COPD.
Mild interstitial edema has slightly improved since the previous examination.
Dense retrocardiac opacity obscures the left hemidiaphragm.
Degenerative changes are noted throughout the thoracic spine.
There is no evidence of free air below the right hemidiaphragm.
PA and lateral views of the chest were obtained.
The aorta is tortuous and calcified.
Multiple healed right rib fractures are again seen.
Enteric tube courses below the diaphragm and out of view.
Findings are suggestive of pulmonary vascular congestion.
An ill-defined nodule measuring 8 mm projects over the right upper lobe.
In comparison with the study of the previous day, there is little overall change.
Cardiac silhouette remains enlarged and there is continued evidence of elevated pulmonary venous pressure.
Monitoring and support devices remain in place.
Left lower lobe collapse/consolidation is unchanged.
The lungs are otherwise clear without focal consolidation.
There has been interval placement of a left chest tube with decrease in size of the pneumothorax.
Subtle patchy opacity in the lingula could represent early pneumonia in the appropriate clinical setting.
Costophrenic angles are sharp.
Hilar contours are unremarkable.
Apparent increased density at the left base likely relates to overlying soft tissue.
The chest radiograph shows clear lungs with no signs of consolidation or effusion.
The image shows a frontal view of the chest with the heart appearing normal in size.
There are no visible abnormalities in the lung fields, such as infiltrates or masses.
The trachea is midline, and the bony structures appear intact.
Overall, the image demonstrates no acute cardiopulmonary abnormality.
ET tube tip is approximately 4 cm above the carina.
Biapical scarring is stable.
Moderate to severe cardiomegaly is unchanged.
Right PICC has been repositioned, now ending in the low SVC.
There is blunting of the left costophrenic angle, which may represent a trace effusion or pleural thickening.
Opacification of the right hemithorax is near complete.
Prominence of the right hilum warrants further evaluation with CT.
Compared to the prior, right-sided effusion has decreased and is now small.
Surgical clips project over the left axilla.
Note is made of an azygos lobe.
Diffuse reticular opacities are most pronounced in the lower lobes, raising concern for fibrosis.
""".strip().splitlines()

SECOND = """
Since yesterday the left pleural drain has been removed and a small apical pneumothorax has appeared.
Both hemidiaphragms are well defined.
Streaky opacities at both bases most likely represent subsegmental atelectasis.
Right upper lobe airspace disease is worse than on the prior study.
Lungs are clear of focal airspace disease.
The nasogastric tube has been advanced and its side port now lies in the stomach.
Unfolded thoracic aorta with mural calcification.
No acute fracture or dislocation.
There is a rounded 2 cm opacity behind the heart.
Left pleural effusion is moderate in size and partly loculated.
Mild cardiomegaly without overt failure.
Patient is rotated to the right, which limits assessment of the mediastinum.
Pulmonary vessels are mildly prominent, in keeping with early congestion.
Port-a-Cath tip projects over the cavoatrial junction.
Small hiatal hernia.
Increased interstitial markings in both lungs suggest mild edema.
Neither effusion nor pneumothorax is present.
Old fractures of the left fourth and fifth ribs have healed.
A calcified granuloma in the left mid lung is unchanged since 2015.
Interval worsening of right basal consolidation, now with air bronchograms.
Volume loss in the right upper lobe is probably due to scarring.
The endotracheal tube is 2 cm above the carina and should be pulled back slightly.
Cardiac size cannot be assessed because of the adjacent effusion.
Normal mediastinal contours and pulmonary vasculature.
Widespread bilateral airspace opacities are again present, perhaps slightly less dense than before.
No pleural abnormality is seen on either side.
Large right hydropneumothorax with an air-fluid level.
The lateral costophrenic sulci are slightly blunted on both sides.
Skin folds project over the right chest and should not be mistaken for a pneumothorax.
Multiple small nodules are scattered throughout both lungs.
Left subclavian pacemaker leads end in the right atrium and right ventricle.
Right middle lobe pneumonia has cleared.
Vertebral body heights are maintained.
There is slight tracheal deviation to the right.
Mass in the left upper lobe with associated hilar lymphadenopathy.
The film was obtained at the bedside with the patient supine.
Pleural thickening at the right apex is old.
Extensive subcutaneous emphysema over the right chest wall and neck.
Aside from a small left effusion, the chest is normal.
Heart and great vessels appear normal.
Persistent collapse of the left lower lobe with shift of the heart to the left.
Central venous line from the right neck ends at the level of the azygos vein.
Edema is less severe than on the earlier film.
Bones are osteopenic and there is wedging of a mid thoracic vertebra.
Two left-sided chest tubes are in unchanged position.
Suspected left lower lobe infiltrate is better seen on the lateral view.
""".strip().splitlines()

KEYWORDS = [
    "effusion",
    "edema",
    "pneumothorax",
    "consolidation",
    "cardiomegaly",
    "atelectasis",
    "pneumonia",
    "opacity",
    "nodule",
    "fracture",
    "small",
    "large",
    "left",
    "right",
    "bilateral",
    "mild",
    "moderate",
]
TRUTH = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED) | {
    Observation.PLEURAL_EFFUSION: LabelState.POSITIVE,
    Observation.EDEMA: LabelState.POSITIVE,
}

Corrupt = Callable[[random.Random, list[str]], list[str]]


def shuffled(rng: random.Random, words: list[str]) -> list[str]:
    """The words in any order."""
    rng.shuffle(words)
    return words


def swapped(rng: random.Random, words: list[str]) -> list[str]:
    """Two neighbours changed about."""
    place = rng.randrange(len(words) - 1)
    words[place], words[place + 1] = words[place + 1], words[place]
    return words


def shortened(rng: random.Random, words: list[str]) -> list[str]:
    """One word left out."""
    del words[rng.randrange(len(words))]
    return words


def any_of(vocabulary: list[str]) -> Corrupt:
    """Three to eight words of a vocabulary, whatever the sentence was."""
    return lambda rng, _: [rng.choice(vocabulary) for _ in range(rng.randint(3, 8))]


def corrupted(rng: random.Random, sentences: list[str], corrupt: Corrupt) -> list[str]:
    """Corruptions of every sentence that differ from it."""
    texts = []
    for sentence in sentences:
        words = sentence.rstrip(".").lower().split()
        for _ in range(NUM_CORRUPTIONS):
            changed = corrupt(rng, list(words))
            if changed != words:
                texts.append(" ".join(changed).capitalize() + ".")
    return texts


def shares(texts: list[str]) -> tuple[float, float]:
    """Percentages of texts that are admitted, and that are paid."""
    breakdowns = FactScoreReward().score(texts, [TRUTH] * len(texts))
    admitted = sum(not breakdown.rejected for breakdown in breakdowns)
    paid = sum(breakdown.total > 0 for breakdown in breakdowns)
    return 100 * admitted / len(texts), 100 * paid / len(texts)


def seconds_of_a_step() -> tuple[float, float]:
    """The least CPU time of a step's reward: every sentence new to the judge, and all of them known."""
    studies = PhantomSource(num_train=NUM_ROLLOUTS).studies(Split.TRAIN)
    reports, labels = [study.oracle_report for study in studies], [study.labels for study in studies]
    cold: list[float] = []
    warm: list[float] = []
    for _ in range(NUM_PASSES):
        read_statement.cache_clear()
        reward = FactScoreReward()
        for seconds in (cold, warm):
            start = time.process_time()
            reward.score(reports, labels)
            seconds.append(time.process_time() - start)
    return min(cold), min(warm)


def print_refused(sentences: list[str]) -> None:
    """How many sentences of a set aren't read, and why."""
    refused = [judged.rejected for judged in OfflineJudge().judge(sentences) if judged.rejected]
    print(f"{len(refused)} of {len(sentences)} refused")
    for rejected in refused:
        print("  ", *(f"{text} ({reason})" for text, reason in rejected.items()))


def cells(sentences: list[str]) -> dict[str, str]:
    """Admitted and paid corruptions of a set, by kind."""
    rng = random.Random(0)
    words = [word for sentence in sentences for word in sentence.rstrip(".").lower().split()]
    kinds: dict[str, Corrupt] = {
        "shuffled": shuffled,
        "two neighbours swapped": swapped,
        "a word left out": shortened,
        "any words of the set": any_of(words),
        "any keywords": any_of(KEYWORDS),
    }
    return {
        kind: "{:.1f} / {:.1f}".format(*shares(corrupted(rng, sentences, corrupt))) for kind, corrupt in kinds.items()
    }


def main() -> None:
    """Prints the table."""
    print_refused(FIRST)
    print_refused(SECOND)
    first, second = cells(FIRST), cells(SECOND)
    print("\n| admitted / paid, % | first 46 | second 46 |\n|---|---|---|")
    for kind in first:
        print(f"| {kind} | {first[kind]} | {second[kind]} |")
    cold, warm = (1e3 * seconds for seconds in seconds_of_a_step())
    print(
        f"\nreward of {NUM_ROLLOUTS} rollouts: {cold:.0f} ms with sentences that are new, {warm:.0f} ms with known "
        f"ones; target {1e3 * TARGET_SECONDS:.0f} ms: {'met' if cold < 1e3 * TARGET_SECONDS else 'missed'}"
    )


if __name__ == "__main__":
    main()
