"""A miniature of CheXpert Plus: table, PNG images, CheXbert's labels, and gold labels as two other sets have them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation, label_state_to_code
from orapo.data.miniature.studies import MadeUpStudy, Trait
from orapo.data.miniature.writing import begin, write_images, write_table, write_texts
from orapo.records import Split

TABLE = "df_chexpert_plus_240401.csv"
COLUMNS = (
    *("path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id", "patient_report_date_order"),
    *("report", "section_narrative", "section_clinical_history", "section_history", "section_comparison"),
    *("section_technique", "section_procedure_comments", "section_findings", "section_impression"),
    *("section_end_of_impression", "section_summary", "section_accession_number", "age", "sex", "race", "ethnicity"),
    *("interpreter_needed", "insurance_type", "recent_bmi", "deceased", "split"),
)
"""The 27 columns, in the order of the real table."""

CHEXBERT_ORDER = (*(o for o in OBSERVATIONS if o is not Observation.NO_FINDING), Observation.NO_FINDING)
_GOLD_ORDER = tuple(
    {Observation.LUNG_LESION: Observation.LUNG_OPACITY, Observation.LUNG_OPACITY: Observation.LUNG_LESION}.get(o, o)
    for o in OBSERVATIONS
)
GOLD_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *_GOLD_ORDER)
"""Of CheXpert v1's valid.csv and of CheXlocalize's tables; Lung Opacity stands before Lung Lesion there."""

_ABSENT_SECTION: LabelStates = {
    o: LabelState.POSITIVE if o is Observation.NO_FINDING else LabelState.UNMENTIONED for o in OBSERVATIONS
}
_NUMBERS = {"1": 1.0, "0": 0.0, "-1": -1.0, "": None}


def write_miniature_chexpert_plus(folder: str | Path, num_patients: int = 60, seed: int = 0) -> Path:
    """Writes the data set and gives its folder; arguments and errors as of ``begin``.

    Patients are patient90001 and so on. The part "valid" stands for the private test set, as it does with the real
    data. Beside the data set proper lie CheXpert-v1.0-small/valid.csv and CheXpert/ (val_labels.csv, test_labels.csv)
    with what is drawn on each image as gold labels, and JPEG images.
    """
    root, studies = begin(folder, num_patients, seed)
    public = [study for study in studies if study.split is not Split.TEST]
    rows = [row for study in public for row in _rows(study)]
    write_table(root / TABLE, ("", *COLUMNS), ([number, *row] for number, row in enumerate(rows)))
    write_images(root / "PNG", public, png_paths)
    sections = ("findings", "impression", "report")
    write_texts(root / "chexbert_labels", {f"{section}_fixed.json": _chexbert(public, section) for section in sections})
    _write_gold(root, studies)
    return root


def part_of(study: MadeUpStudy) -> str:
    """The folder and word of its part: train, valid or test."""
    return {Split.TRAIN: "train", Split.VALIDATE: "valid", Split.TEST: "test"}[study.split]


def patient_of(study: MadeUpStudy) -> str:
    return f"patient{90000 + study.patient}"


def image_paths(study: MadeUpStudy) -> list[str]:
    """As the table has them: .jpg, although PNG images lie on the disk."""
    folder = f"{part_of(study)}/{patient_of(study)}/study{study.number}"
    return [f"{folder}/view{number}_{side.lower()}.jpg" for number, side in enumerate(study.sides, start=1)]


def png_paths(study: MadeUpStudy) -> list[str]:
    """As they lie on the disk, below PNG/."""
    return [path.replace(".jpg", ".png") for path in image_paths(study)]


def _rows(study: MadeUpStudy) -> Iterator[list[object]]:
    """One row per image: the study's text, with another invented date in each."""
    rows = zip(image_paths(study), study.views, study.sides, strict=True)
    for number, (path, view, side) in enumerate(rows, start=1):
        date = f"{number}-{study.number}-2100"
        findings, impression = _section(study, study.findings, date), _section(study, study.impression, "")
        narrative = f"\nPHANTOM OF THE CHEST: {date}"
        cells: dict[str, object] = {
            "path_to_image": path,
            "path_to_dcm": path.replace(".jpg", ".dcm"),
            "frontal_lateral": side,
            "ap_pa": "" if view == "LATERAL" else view,
            "deid_patient_id": patient_of(study),
            "patient_report_date_order": study.number,
            "report": f"NARRATIVE:{narrative}\n \nFINDINGS:{findings}\n \nIMPRESSION:{impression}\n",
            "section_narrative": narrative,
            "section_comparison": f"\n{date}",
            "section_findings": findings,
            "section_impression": impression,
            "section_accession_number": "ACCESSION NUMBER: 0",
            "age": study.age,
            "sex": study.sex,
            "race": "Unknown",
            "ethnicity": "Unknown",
            "interpreter_needed": "Unknown",
            "insurance_type": "Unknown",
            "deceased": "No",
            "split": part_of(study),
        }
        yield [cells.get(column, "") for column in COLUMNS]


def _section(study: MadeUpStudy, text: str, date: str) -> str:
    if not text:
        return " \n  " if study.trait is Trait.BLANK_FINDINGS else ""
    text = "\n \n".join(study.paragraphs(text, gap="  "))
    if study.trait is Trait.TWO_FRONTALS and date:
        text = f"Compared with {date}.  {text}"
    return f"\n{text if study.patient % 4 == 0 else text.upper()}"


def _chexbert(studies: Sequence[MadeUpStudy], section: str) -> str:
    """JSON lines; a section that isn't there counts as No Finding, as it does in the real files."""
    lines = []
    for study in studies:
        labels = chexbert_labels(study, section)
        numbers = {o.value: _NUMBERS[label_state_to_code(labels[o])] for o in CHEXBERT_ORDER}
        lines += [json.dumps({"path_to_image": path, **numbers}) + "\n" for path in image_paths(study)]
    return "".join(lines)


def chexbert_labels(study: MadeUpStudy, section: str) -> LabelStates:
    """The labels of ``"findings"``, ``"impression"`` or ``"report"`` (both)."""
    if section == "report":
        section = "findings" if study.findings else "impression"  # findings state all that the impression does
    text, labels = (
        (study.findings, study.findings_labels)
        if section == "findings"
        else (study.impression, study.impression_labels)
    )
    return labels if text else _ABSENT_SECTION


def _write_gold(root: Path, studies: Sequence[MadeUpStudy]) -> None:
    for split, table, images, prefix in (
        (Split.VALIDATE, "CheXpert-v1.0-small/valid.csv", "CheXpert-v1.0-small/valid", "CheXpert-v1.0-small/"),
        (Split.VALIDATE, "CheXpert/val_labels.csv", "CheXpert/val", ""),
        (Split.TEST, "CheXpert/test_labels.csv", "CheXpert/test", ""),
    ):
        chosen = [study for study in studies if study.split is split]
        write_table(root / table, GOLD_COLUMNS, (row for study in chosen for row in _gold_rows(study, prefix)))
        write_images(root / images, chosen, lambda study: [path.partition("/")[2] for path in image_paths(study)])


def _gold_rows(study: MadeUpStudy, prefix: str) -> Iterator[list[object]]:
    present = study.drawn | ({Observation.NO_FINDING} if study.states_nothing_found else frozenset())
    labels = ["1.0" if o in present else "0.0" for o in _GOLD_ORDER]
    for path, view, side in zip(image_paths(study), study.views, study.sides, strict=True):
        yield [f"{prefix}{path}", study.sex, study.age, side, "" if side == "Lateral" else view, *labels]
