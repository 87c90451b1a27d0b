import json

import pytest

from orapo.data.miniature import write_miniature_annotation
from orapo.data.miniature.annotation import clean_text
from orapo.data.miniature.studies import make_studies
from orapo.errors import SettingError
from orapo.labeler import Labeler


def test_the_mimic_form_has_one_sample_per_image(tmp_path):
    path = write_miniature_annotation(tmp_path / "a", 20, 3)
    content = json.loads(path.read_text())
    studies = [study for study in make_studies(20, 3) if study.findings]
    assert {split: len(samples) for split, samples in content.items()} == {
        "train": sum(len(study.views) for study in studies if study.split == "train"),
        "val": sum(len(study.views) for study in studies if study.split == "validate"),
        "test": sum(len(study.views) for study in studies if study.split == "test"),
    }
    sample = content["train"][0]
    assert sorted(sample) == ["id", "image_path", "report", "split", "study_id", "subject_id"]
    assert (sample["study_id"], sample["subject_id"]) == (90000001, 90000001)
    assert sample["image_path"] == [f"p90/p90000001/s90000001/{sample['id']}.jpg"]
    assert (path.parent / "files" / sample["image_path"][0]).is_file()


def test_the_chexpert_plus_form_has_patients_in_several_splits(tmp_path):
    path = write_miniature_annotation(tmp_path / "a", form="chexpert_plus")
    content = json.loads(path.read_text())
    patients = {
        split: {sample["image_path"][0].split("/")[1] for sample in samples} for split, samples in content.items()
    }
    assert patients["train"] & patients["test"]
    assert all(patients.values())
    for samples in content.values():
        for sample in samples:
            assert sorted(sample) == ["id", "image_path", "report", "split"]
            assert all((path.parent / "PNG" / image).is_file() for image in sample["image_path"])


def test_cleaned_text_keeps_its_labels():
    assert clean_text("Clear lungs. No focal consolidation, or pneumothorax.") == (
        "clear lungs . no focal consolidation or pneumothorax ."
    )
    labeler = Labeler()
    for study in make_studies(60, 0):
        if study.findings:
            assert labeler.label(clean_text(study.findings)).states == study.findings_labels


def test_an_unknown_form_is_refused(tmp_path):
    with pytest.raises(SettingError, match="form is 'iu_xray'; it must be one of mimic_cxr, chexpert_plus"):
        write_miniature_annotation(tmp_path / "a", form="iu_xray")
