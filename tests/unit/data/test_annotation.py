import json
import logging
import re

import pytest
from PIL import Image

from orapo.chexpert import LabelState, Observation
from orapo.data.annotation import Annotation
from orapo.data.miniature import write_miniature_annotation
from orapo.data.miniature.annotation import clean_text
from orapo.data.miniature.studies import make_studies
from orapo.data.source import LeftOut, StudySource
from orapo.errors import DataError, SettingError
from orapo.labeler import Labeler
from orapo.records import Split

SECRET = "A sentence that no message may quote."


def mimic(image, study, subject, split, report=None, **changes):
    """A sample as R2Gen has it for MIMIC-CXR."""
    return {
        "id": f"image{image}",
        "study_id": study,
        "subject_id": subject,
        "report": report or f"No pneumothorax in study {study}.",
        "image_path": [f"p{subject // 1000000}/p{subject}/s{study}/image{image}.jpg"],
        "split": split,
    } | changes


def plus(patient, study, view, report="Cardiomegaly."):
    """A sample of CheXpert Plus: its folders tell patient and study."""
    path = f"train/patient9000{patient}/study{study}/view{view}_frontal.png"
    return {"id": f"{patient}-{study}-{view}", "report": report, "image_path": [path]}


CONTENT = {
    "train": [mimic(1, 90000001, 90000001, "train"), mimic(2, 90000001, 90000001, "train")],
    "val": [mimic(3, 90000002, 90000002, "val")],
    "test": [mimic(4, 90000003, 90000003, "test")],
}


def write(folder, content, images=True, below="files"):
    """Writes annotation.json and, below a folder, its images; gives both settings."""
    if images:
        for samples in content.values():
            for sample in samples:
                for path in sample["image_path"]:
                    (folder / below / path).parent.mkdir(parents=True, exist_ok=True)
                    Image.new("L", (40, 30), 9).save(folder / below / path)
    (folder / "annotation.json").write_text(json.dumps(content))
    return str(folder / "annotation.json"), str(folder)


def ids(source, split):
    return [entry.study_id for entry in source.entries(split)]


def test_samples_of_a_study_are_its_images(tmp_path):
    source = Annotation(*write(tmp_path, CONTENT)).open()
    assert isinstance(source, StudySource)
    assert [ids(source, split) for split in Split] == [["s90000001"], ["s90000002"], ["s90000003"]]
    study = source.read("s90000001")
    folder = tmp_path / "files" / "p90" / "p90000001" / "s90000001"
    assert study.image_paths == (str(folder / "image1.jpg"), str(folder / "image2.jpg"))
    assert (study.patient_id, study.split, study.views) == ("p90000001", Split.TRAIN, ("", ""))
    assert study.oracle_report == "No pneumothorax in study 90000001."
    assert study.labels[Observation.PNEUMOTHORAX] is LabelState.NEGATIVE
    assert source.entries(Split.TRAIN)[0].labels == study.labels
    assert [image.size for image in source.load_images(study)] == [(40, 30), (40, 30)]


def test_white_space_of_reports_is_collapsed_and_blank_ones_are_left_out(tmp_path):
    content = CONTENT | {"train": [mimic(1, 1, 1, "train", " No  edema.\n Clear. "), mimic(2, 2, 2, "train", " \n ")]}
    source = Annotation(*write(tmp_path, content)).open()
    assert source.read("s1").oracle_report == "No edema. Clear."
    assert source.left_out(Split.TRAIN) == [LeftOut("s2", "no report")]
    with pytest.raises(DataError, match="study s2 is not listed"):
        source.read("s2")


def test_max_images_and_longest_side(tmp_path):
    source = Annotation(*write(tmp_path, CONTENT), max_images=1, longest_side=32).open()
    study = source.read("s90000001")
    assert len(study.image_paths) == len(study.views) == 1
    assert [image.size for image in source.load_images(study)] == [(32, 24)]


@pytest.mark.parametrize("below", ["", "images", "files", "PNG", "PNG/PNG"])
def test_images_lie_in_the_folder_or_below_known_ones(tmp_path, below):
    source = Annotation(*write(tmp_path, CONTENT, below=below)).open()
    assert source.read("s90000003").image_paths == (
        str(tmp_path / below / "p90" / "p90000003" / "s90000003" / "image4.jpg"),
    )


def plain(name, image):
    return {"id": name, "report": "No pneumothorax.", "image_path": [image]}


def test_an_image_found_does_not_depend_on_what_was_read_before(tmp_path):
    content = {"train": [plain("a", "0.png")], "val": [plain("b", "1.png")], "test": [plain("c", "2.png")]}
    source = Annotation(*write(tmp_path, content, below="images")).open()
    (tmp_path / "files").mkdir()
    (tmp_path / "images" / "1.png").rename(tmp_path / "files" / "1.png")
    Image.new("L", (9, 9)).save(tmp_path / "files" / "0.png")
    for study_id, folder in (("a", "images"), ("b", "files"), ("a", "images")):
        name = "1.png" if study_id == "b" else "0.png"
        assert source.read(study_id).image_paths == (str(tmp_path / folder / name),)


@pytest.mark.parametrize("spelled", ["images/0.png", "./0.png", "0.jpg", "ROOT/images/0.png"])
def test_one_image_by_another_spelling_is_refused(tmp_path, spelled):
    content = {"train": [plain("a", "0.png")], "val": [plain("b", "1.png")], "test": [plain("c", "0.png")]}
    write(tmp_path, content, below="images")
    content["test"] = [plain("c", spelled.replace("ROOT", str(tmp_path)))]
    with pytest.raises(DataError, match=r"study c: image .*0.* stands already in study a; an image may be listed once"):
        Annotation(*write(tmp_path, content, images=False)).open()


def test_images_of_one_name_in_two_folders_are_two(tmp_path):
    content = {"train": [plain("a", "0.png")], "val": [plain("b", "1.png")], "test": [plain("c", "images/0.png")]}
    assert ids(Annotation(*write(tmp_path, content, below="")).open(), Split.TEST) == ["c"]


def test_the_other_ending_is_found(tmp_path):
    arguments = write(tmp_path, CONTENT)
    image = tmp_path / "files" / "p90" / "p90000003" / "s90000003" / "image4.jpg"
    Image.new("L", (9, 9)).save(image.with_suffix(".png"))
    image.unlink()
    assert Annotation(*arguments).open().read("s90000003").image_paths == (str(image.with_suffix(".png")),)


def test_a_missing_image_is_an_error_when_the_study_is_read(tmp_path):
    source = Annotation(*write(tmp_path, CONTENT, images=False)).open()
    message = f"study s90000003: there is no image image4.jpg below {tmp_path} (tried ., images, files, PNG, PNG/PNG)"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        source.read("s90000003")


def test_nothing_is_looked_for_on_disk_at_construction(tmp_path, monkeypatch):
    arguments = write(tmp_path, CONTENT, images=False)
    monkeypatch.setattr("orapo.data.annotation.os.path.isfile", lambda path: pytest.fail(path))
    assert ids(Annotation(*arguments).open(), Split.TEST) == ["s90000003"]


def test_folders_tell_patient_and_study_and_the_first_report_counts(tmp_path, caplog):
    content = {
        "train": [plus(1, 1, 1, "Edema on 1-1-2100."), plus(1, 1, 2, "Edema on 2-2-2100."), plus(1, 2, 1)],
        "val": [plus(2, 1, 1)],
        "test": [plus(3, 1, 1)],
    }
    with caplog.at_level(logging.WARNING):
        source = Annotation(*write(tmp_path, content, below="PNG")).open()
    assert ids(source, Split.TRAIN) == ["patient90001/study1", "patient90001/study2"]
    study = source.read("patient90001/study1")
    assert (study.patient_id, study.views) == ("patient90001", ("FRONTAL", "FRONTAL"))
    assert study.oracle_report == "Edema on 1-1-2100."
    assert "1 studies have samples with different reports; the first one counts" in caplog.text


def test_without_any_patient_the_id_is_the_patient_and_a_note_says_so(tmp_path, caplog):
    def sample(name):
        return {"id": name, "report": "Edema.", "image_path": [f"{name}/0.png", f"{name}/1.png"]}

    content = {"train": [sample("a"), sample("b")], "val": [sample("c")], "test": [sample("d")]}
    with caplog.at_level(logging.WARNING):
        source = Annotation(*write(tmp_path, content, below="images")).open()
    study = source.read("b")
    assert (study.patient_id, len(study.image_paths)) == ("b", 2)
    assert "4 studies name no patient" in caplog.text


SHARED = {
    "train": [plus(1, 1, 1), plus(2, 1, 1), plus(3, 1, 1), plus(3, 2, 1), plus(4, 1, 1)],
    "val": [plus(2, 2, 1), plus(3, 3, 1), plus(5, 1, 1)],
    "test": [plus(3, 4, 1), plus(6, 1, 1)],
}


def test_patients_in_several_splits_stay_in_test_or_else_in_validate(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        source = Annotation(*write(tmp_path, SHARED)).open()
    assert ids(source, Split.TRAIN) == ["patient90001/study1", "patient90004/study1"]
    assert ids(source, Split.VALIDATE) == ["patient90002/study2", "patient90005/study1"]
    assert ids(source, Split.TEST) == ["patient90003/study4", "patient90006/study1"]
    assert source.left_out(Split.TRAIN) == [
        LeftOut("patient90002/study1", "patient is in test or validate"),
        LeftOut("patient90003/study1", "patient is in test or validate"),
        LeftOut("patient90003/study2", "patient is in test or validate"),
    ]
    assert source.left_out(Split.VALIDATE) == [LeftOut("patient90003/study3", "patient is in test")]
    assert source.left_out(Split.TEST) == []
    assert "4 of 10 studies left out (patient is in test or validate: 3, patient is in test: 1)" in caplog.text


def test_a_study_dealt_out_to_several_splits_is_one_study(tmp_path, caplog):
    content = {
        "train": [plus(1, 1, 1), plus(2, 1, 1), plus(3, 1, 1)],
        "val": [plus(1, 1, 2), plus(2, 1, 2)],
        "test": [plus(1, 1, 3)],
    }
    with caplog.at_level(logging.WARNING):
        source = Annotation(*write(tmp_path, content)).open()
    assert [ids(source, split) for split in Split] == [
        ["patient90003/study1"],
        ["patient90002/study1"],
        ["patient90001/study1"],
    ]
    assert len(source.read("patient90001/study1").image_paths) == 3
    assert not any(source.left_out(split) for split in Split)
    assert "2 studies have samples in several splits; each counts for test, else for validate" in caplog.text
    with pytest.raises(DataError, match="0 patients have studies in several splits, and 2 studies have samples in sev"):
        Annotation(*write(tmp_path, content), shared_patients="refuse").open()


def test_shared_patients_can_be_refused(tmp_path):
    with pytest.raises(
        DataError,
        match=r"annotation.json: 2 patients have studies in several splits, for example .* and 0",
    ):
        Annotation(*write(tmp_path, SHARED), shared_patients="refuse").open()
    assert len(Annotation(*write(tmp_path, CONTENT), shared_patients="refuse").open().entries(Split.TRAIN)) == 1


HEADER = "study_id," + ",".join(Observation)


def table(folder, *rows, header=HEADER):
    path = folder / "labels.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return {"labels": "table", "label_table": str(path)}


@pytest.mark.parametrize("letter", ["", "s"])
def test_labels_of_a_table_by_study(tmp_path, letter):
    rows = [f"{letter}9000000{number},{code},1" + "," * 12 for number, code in ((1, ""), (2, "0"), (3, "-1.0"))]
    source = Annotation(*write(tmp_path, CONTENT), **table(tmp_path, *rows)).open()
    states = [source.entries(split)[0].labels[Observation.NO_FINDING] for split in Split]
    assert states == [LabelState.UNMENTIONED, LabelState.NEGATIVE, LabelState.UNCERTAIN]


def test_labels_of_a_table_by_sample(tmp_path):
    rows = [f"image{number},,1" + "," * 12 for number in (2, 3)]
    header = HEADER.replace("study_id", "id")
    source = Annotation(*write(tmp_path, CONTENT), **table(tmp_path, *rows, header=header)).open()
    assert ids(source, Split.TRAIN) == ["s90000001"]
    assert source.left_out(Split.TEST) == [LeftOut("s90000003", "no labels")]
    assert source.left_out(Split.TRAIN) == []


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["7,1" + "," * 13], HEADER, r"has labels of no study of .*annotation.json; it has 1 by study_id"),
        (["7,5" + "," * 13], HEADER, r"labels.csv line 2: No Finding: label code '5' is none"),
        (["7,1" + "," * 13, "7.0,0" + "," * 13], HEADER, r"line 3: '7.0' stands in an earlier row with other labels"),
        (["7,1" + "," * 13], HEADER.replace("study_id", "x"), "has no column study_id or id"),
        (["7,1" + "," * 13], HEADER.replace("Edema", "Oedema"), "is near 'Edema' and would be passed over"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, rows, header, message):
    with pytest.raises(DataError, match=message):
        Annotation(*write(tmp_path, CONTENT), **table(tmp_path, *rows, header=header)).open()


def changed(split, index, /, **changes):
    content = json.loads(json.dumps(CONTENT))
    content[split][index] |= changes
    return content


def without(split, index, key):
    content = json.loads(json.dumps(CONTENT))
    del content[split][index][key]
    return content


PLACE = r"^FILE: train sample 1 \(counted from 0\): "


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "^FILE holds a list; it must be an object with the lists train, val and test"),
        ({"train": CONTENT["train"], "val": CONTENT["val"]}, "^FILE has no split test; train, val and test are needed"),
        (CONTENT | {"val": []}, r"^FILE: split 'val' is a list \(empty\); it must be a list of at least one sample"),
        (CONTENT | {"val": {"a": 1}}, "^FILE: split 'val' is an object; it must be a list"),
        (CONTENT | {"rest": []}, r"^FILE: split 'rest' is none of train \(or training\), validate"),
        (CONTENT | {"valid": CONTENT["val"]}, "^FILE: 'val' and 'valid' are the same split; one is allowed"),
        (CONTENT | {"test": [SECRET]}, r"^FILE: test sample 0 \(counted from 0\): it is text; it must be an object"),
        (
            CONTENT | {"val": [{SECRET: 1, "id": 2}]},
            r"val sample 0 \(.*: it has no report and no image_path; its keys are id$",
        ),
        (without("train", 1, "report"), f"{PLACE}it has no report; its keys are id, study_id, subject_id"),
        (changed("train", 1, report=None), f"{PLACE}report is null; it must be text"),
        (changed("train", 1, report=[SECRET]), f"{PLACE}report is a list; it must be text"),
        (changed("train", 1, image_path="a.jpg"), f"{PLACE}image_path is text; it must be a list of one path or more"),
        (changed("train", 1, image_path=[]), rf"{PLACE}image_path is a list \(empty\); it must be a list"),
        (changed("train", 1, image_path=[3]), f"{PLACE}image_path is a list; it must be a list of one path or more"),
        (changed("train", 1, id=" "), rf"{PLACE}id is text \(empty\); it must be a whole number or text"),
        (changed("train", 1, study_id=1.5), f"{PLACE}study_id is a number; it must be a whole number or text"),
        (changed("train", 1, subject_id=True), f"{PLACE}subject_id is true or false; it must be a whole number"),
        (changed("train", 1, split="val"), f"{PLACE}its split is 'val', but it stands in the list of train"),
        (changed("train", 1, split="rest"), f"{PLACE}split 'rest' is none of train"),
        (
            changed("train", 1, subject_id=5),
            r"^FILE: train sample 1 \(counted from 0\): study s90000001 is of another patient than in an",
        ),
        (
            changed("train", 1, report=SECRET),
            r"^FILE: train sample 1 \(counted from 0\): study s90000001 has another report than in an earlier sample",
        ),
    ],
)
def test_files_that_cannot_be_used_are_named_with_split_and_index(tmp_path, content, message):
    (tmp_path / "annotation.json").write_text(json.dumps(content))
    path = str(tmp_path / "annotation.json")
    with pytest.raises(DataError, match=message.replace("FILE", re.escape(path))) as caught:
        Annotation(path, str(tmp_path)).open()
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [f'{{"train": [{{"report": "{SECRET}"', f'"{SECRET}', b"\xff\xfe{}", b""])
def test_broken_files_are_refused_without_a_quote(tmp_path, content):
    path = tmp_path / "annotation.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: not ") as caught:
        Annotation(str(path), str(tmp_path)).open()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": "chexbert"}, "labels is 'chexbert'; it must be one of labeler, table"),
        ({"labels": "table"}, "label_table is None and labels is 'table'"),
        ({"label_table": "x.csv"}, "label_table is 'x.csv' and labels is 'labeler'"),
        ({"shared_patients": "keep"}, "shared_patients is 'keep'; it must be one of leave_out, refuse"),
        ({"max_images": 0}, "max_images is 0; it must be a whole number, at least 1"),
        ({"longest_side": 8}, "longest_side is 8"),
    ],
)
def test_settings_out_of_range(tmp_path, settings, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        Annotation(*write(tmp_path, CONTENT, images=False), **settings).open()


def test_files_not_given_or_not_there(tmp_path):
    annotation, root = write(tmp_path, CONTENT, images=False)
    for arguments, message in (
        ((None, root), "annotation: no file given; set data.annotation"),
        ((annotation, ""), "annotation: no folder given; set data.root"),
        ((f"{root}/gone.json", root), "there is no annotation .*gone.json"),
        ((annotation, f"{root}/gone"), "root .*gone is not a folder"),
    ):
        with pytest.raises(DataError, match=message):
            Annotation(*arguments).open()


def test_the_digest_follows_file_settings_and_labels_but_not_the_place(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, moved = write(tmp_path / "a", CONTENT, images=False), write(tmp_path / "b", CONTENT, images=False)
    digest = Annotation(*one).open().digest()
    assert re.fullmatch("2:[0-9a-f]{64}", digest)
    assert Annotation(*moved).open().digest() == digest
    assert Annotation(*one, max_images=1).open().digest() != digest
    assert Annotation(*one, labeler=Labeler(quirks="original")).open().digest() == digest  # the same labels
    rows = [f"9000000{number},1" + "," * 13 for number in (1, 2, 3)]
    by_table = Annotation(*one, **table(tmp_path, *rows)).open().digest()
    assert by_table != digest
    write(tmp_path / "b", changed("val", 0, report="Edema."), images=False)
    assert Annotation(*moved).open().digest() != digest


def test_the_miniature_of_mimic_cxr(tmp_path):
    path = write_miniature_annotation(tmp_path / "m", 20, 3)
    source = Annotation(str(path), str(path.parent)).open()
    expected = [study for study in make_studies(20, 3) if study.findings]
    for split in Split:
        of_split = {f"s{90000000 + study.serial}": study for study in expected if study.split is split}
        assert ids(source, split) == list(of_split)
        assert source.left_out(split) == []
        for entry in source.entries(split):
            made = of_split[entry.study_id]
            assert entry.labels == made.findings_labels
            study = source.read(entry.study_id)
            assert study.oracle_report == clean_text(made.findings)
            assert len(source.load_images(study)) == len(made.views)


def test_the_miniature_of_chexpert_plus_shares_patients(tmp_path):
    path = write_miniature_annotation(tmp_path / "m", 60, 3, form="chexpert_plus")
    source = Annotation(str(path), str(path.parent)).open()
    listed = [{entry.patient_id for entry in source.entries(split)} for split in Split]
    assert all(listed)
    assert not listed[0] & listed[1]
    assert not (listed[0] | listed[1]) & listed[2]
    assert source.left_out(Split.TRAIN)
    num_samples = sum(len(samples) for samples in json.loads(path.read_text()).values())
    assert sum(len(source.entries(split)) + len(source.left_out(split)) for split in Split) == num_samples
    study = source.read(source.entries(Split.TEST)[0].study_id)
    assert source.load_images(study)[0].mode == "RGB"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"train": [], "train": []}', "a key stands twice; each may stand once"),
        (f'{{"train": {"9" * 5_000}}}', "a whole number of more than 18 digits"),
        ('{"train": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_json_that_cannot_be_read_is_told_in_one_line(tmp_path, content, message):
    path = tmp_path / "annotation.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        Annotation(str(path), str(tmp_path)).open()


def test_one_patient_by_two_spellings_is_one(tmp_path):
    content = changed("train", 0, subject_id="007", study_id=71)
    content["train"][1] |= {"subject_id": 8, "study_id": 73}
    content["test"][0] |= {"subject_id": "7.0", "study_id": 72}
    source = Annotation(*write(tmp_path, content)).open()
    assert "p7" in [entry.patient_id for entry in source.entries(Split.TEST)]
    assert "p7" not in [entry.patient_id for entry in source.entries(Split.TRAIN)]
