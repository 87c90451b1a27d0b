"""ReXGradient-160K and the input files of ReXrank: keys in any case, and what can't be used by its study."""

import json

import pytest
from PIL import Image

from orapo.chexpert import LabelState, Observation
from orapo.data.check import check_data_set
from orapo.data.json_studies import RexGradient, RexRank, told_by_name
from orapo.errors import DataError
from orapo.records import Context, Split

SECRET = "A sentence that no message may quote."


def study(patient, number=1, **changes):
    return {
        "ImagePath": [f"../deid_png/P{patient}/S{number}/1.png"],
        "ImageViewPosition": ["POSTERO_ANTERIOR"],
        "Findings": "There is a small left pleural effusion.",
        "Impression": "Effusion.",
        "Indication": "Cough, XXXX.",
        "PatientAge": "063Y",
        "PatientSex": "F",
    } | changes


def write(root, **parts):
    (root / "metadata").mkdir()
    for part in ("train", "valid", "test"):
        content = parts.get(part) or {f"{part}1": study(part)}
        (root / "metadata" / f"{part}_metadata_view_position.json").write_text(json.dumps(content))
        for value in content.values():
            for path in (
                value["ImagePath"] if isinstance(value, dict) and isinstance(value.get("ImagePath"), list) else ()
            ):
                (root / path[3:]).parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (40, 30)).save(root / path[3:])
    return RexGradient(str(root))


def test_a_study_has_its_texts_context_and_pictures(tmp_path):
    source = write(tmp_path).open()
    assert [entry.study_id for split in Split for entry in source.entries(split)] == ["train1", "valid1", "test1"]
    read = source.read("valid1")
    assert (read.patient_id, read.split, read.views) == ("Pvalid", Split.VALIDATE, ("PA",))
    assert read.image_paths == (f"{tmp_path}/deid_png/Pvalid/S1/1.png",)
    assert read.oracle_report == "There is a small left pleural effusion."
    assert read.labels[Observation.PLEURAL_EFFUSION] is LabelState.POSITIVE
    assert read.context == Context(indication="Cough.", age_years=63, sex="F")


def test_keys_count_in_any_case_and_others_are_told(tmp_path):
    lower = {"image_path" if key == "ImagePath" else key.lower(): value for key, value in study("a").items()}
    settings = write(tmp_path, valid={"b": lower | {"Scanner": "x"}})
    (tmp_path / "deid_png/Pa/S1").mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 30)).save(tmp_path / "deid_png/Pa/S1/1.png")
    report = check_data_set(settings)
    assert report.problems == ()
    assert any(note.endswith("keys passed over: scanner") for note in report.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ImagePath": []}, "study a: it has no ImagePath, a list of one path or more"),
        ({"ImagePath": 3}, "study a: ImagePath is a number; it must be a list of texts"),
        ({"ImageViewPosition": ["PA", "AP"]}, "study a: it has 1 images, and 2 views"),
        ({"Findings": [SECRET]}, "study a: Findings is a list; it must be text"),
        ({"findings": "Clear."}, "study a: keys 'Findings' and 'findings' are the same; one is allowed"),
        ({"StudyDate": "May"}, "study a: date 'May' is no day"),
    ],
)
def test_a_study_that_cannot_be_used_is_named_and_not_quoted(tmp_path, changes, message):
    settings = write(tmp_path, train={"a": study("a", **changes)})
    with pytest.raises(DataError) as caught:
        settings.open()
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)
    assert sum(message in problem for problem in check_data_set(settings).problems) == 1


def test_a_patient_in_two_parts_and_a_file_of_another_kind_are_refused(tmp_path):
    settings = write(tmp_path, test={"t": study("train", 2)})
    with pytest.raises(DataError, match="1 patients have studies in several splits, for example that of study "):
        settings.open()
    (tmp_path / "metadata" / "train_metadata_view_position.json").write_text("[1]")
    with pytest.raises(DataError, match="holds a list; it must be an object of studies by their ids"):
        settings.open()


def test_every_missing_file_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"ReXGradient-160K: 4 of 4 needed are missing: the train studies .*deid_png.part00"
    ):
        RexGradient(str(tmp_path)).open()
    with pytest.raises(DataError, match=r"ReXrank: no file given; set data.json"):
        RexRank(None, str(tmp_path)).open()


def test_the_context_of_the_leaderboard_is_read_by_its_names(tmp_path):
    Image.new("L", (40, 30)).save(tmp_path / "1.png")
    content = {
        "a": {
            "image_path": ["1.png"],
            "context": "Age:63.Gender:Female.Indication: Chest pain.Comparison: None.",
            "section_findings": "Clear lungs.",
            "section_impression": "",
            "split": "test",
            "subject_id": 7,
        }
    }
    (tmp_path / "in.json").write_text(json.dumps(content))
    source = RexRank(str(tmp_path / "in.json"), str(tmp_path)).open()
    read = source.read("a")
    assert (read.patient_id, read.split, read.oracle_report) == ("7", Split.TEST, "Clear lungs.")
    assert read.context == Context(indication="Chest pain", age_years=63, sex="F")
    assert RexRank(str(tmp_path / "in.json"), str(tmp_path), target="both").open().entries(Split.TEST) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Age:63.Indication:Cough.History:.", {"age": "63", "indication": "Cough"}),
        ("History:COPD.Indication:.", {"indication": "COPD"}),
        (
            "Indication: 63F with history: COPD, technique: limited. Comparison:None.",
            {"indication": "63F with history: COPD, technique: limited", "comparison": "None"},
        ),
    ],
)
def test_a_name_in_what_is_told_starts_nothing_and_an_empty_one_hides_nothing(text, told):
    assert told_by_name(text) == told


def test_times_of_one_day_order_studies_and_an_unknown_one_only_its_own(tmp_path):
    times = {"a": "1530", "b": "09:00:00", "c": "nan", "d": 80000}
    content = {name: study("p", name, StudyDate="21800101", StudyTime=time) for name, time in times.items()}
    write(tmp_path, train=content)
    source = RexGradient(str(tmp_path), prior=True).open()
    priors = {name: source.read(name).context.prior for name in times}
    assert {name: prior and prior.study_id for name, prior in priors.items()} == {
        "a": "b",
        "b": "d",
        "c": None,
        "d": None,
    }
