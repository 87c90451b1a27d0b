"""Hugging Face data sets: saved to a folder or as files, with one image or a list, with splits or without."""

import io

import datasets
import pytest
from PIL import Image

from orapo.chexpert import LabelState, Observation
from orapo.data.check import check_data_set
from orapo.data.hf_dataset import HfDataset
from orapo.errors import DataError, SettingError
from orapo.records import Context, Split

SECRET = "A sentence that no message may quote."


def png(size=(40, 30)):
    content = io.BytesIO()
    Image.new("L", size, 9).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def rows(count, **columns):
    made = {
        "image": [png((40 + number, 30)) for number in range(count)],
        "report": [f"Mild edema, number {number}." for number in range(count)],
    }
    return made | columns


def save(folder, columns, **parts):
    def dataset(content):
        return datasets.Dataset.from_dict(content).cast_column("image", datasets.Image())

    if parts:
        datasets.DatasetDict({name: dataset(content) for name, content in parts.items()}).save_to_disk(str(folder))
    else:
        dataset(columns).save_to_disk(str(folder))
    return str(folder)


def test_one_split_is_dealt_out_by_patient(tmp_path):
    patients = ["7", "7.0", "8", "9", "10", "11", "12", "13", "14", "15"]
    columns = rows(10, patient_id=patients, view=["PA"] * 10, Age=[str(number) for number in range(60, 70)])
    source = HfDataset(save(tmp_path / "d", columns)).open()
    assert all(source.entries(split) for split in Split)
    of_seven = {split for split in Split for entry in source.entries(split) if entry.patient_id == "7"}
    assert len(of_seven) == 1
    study = source.read("train-0")
    assert (study.oracle_report, study.views, study.context) == (
        "Mild edema, number 0.",
        ("PA",),
        Context(age_years=60),
    )
    assert study.labels[Observation.EDEMA] is LabelState.POSITIVE
    assert [image.size for image in source.load_images(study)] == [(40, 30)]


def test_its_own_splits_count(tmp_path):
    path = save(tmp_path / "d", None, train=rows(3), validation=rows(2), test=rows(1))
    source = HfDataset(path).open()
    assert [len(source.entries(split)) for split in Split] == [3, 2, 1]
    assert source.read("validation-1").split is Split.VALIDATE


def test_a_folder_of_parquet_files_is_opened_too(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "d").mkdir()
    for part, count in (("train", 3), ("validation", 1), ("test", 1)):
        made = datasets.Dataset.from_dict(rows(count)).cast_column("image", datasets.Image())
        made.to_parquet(str(tmp_path / "d" / f"{part}-00000-of-00001.parquet"))
    source = HfDataset(str(tmp_path / "d")).open()
    assert [len(source.entries(split)) for split in Split] == [3, 1, 1]
    assert source.load_images(source.read("train-2"))[0].size == (42, 30)


def test_an_image_that_a_row_names_lies_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", str(tmp_path / "home"))
    places = [tmp_path / "d" / "in.png", tmp_path / "home" / "unpacked.png", tmp_path / "out.png"]
    for place in places:
        place.parent.mkdir(exist_ok=True)
        Image.new("L", (40, 30), 9).save(place)
    named = [*map(str, places), str(tmp_path / "d" / ".." / "out.png")]
    columns = {"image": [{"bytes": None, "path": path} for path in named], "report": ["Mild edema."] * 4}
    made = datasets.Dataset.from_dict(columns)
    made.cast_column("image", datasets.Image()).to_parquet(tmp_path / "d" / "test.parquet")
    source = HfDataset(str(tmp_path / "d")).open()
    for number in (0, 1):
        assert source.load_images(source.read(f"test-{number}"))[0].size == (40, 30)
    for number in (2, 3):
        with pytest.raises(DataError, match=r"outside of root"):
            source.load_images(source.read(f"test-{number}"))


def test_columns_can_have_other_names_and_near_ones_are_refused(tmp_path):
    columns = rows(4, findings=["Clear lungs."] * 4, Patient_ID=["a", "b", "c", "d"])
    path = save(tmp_path / "d", columns)
    assert HfDataset(path, columns={"report": "findings"}).open().read("train-0").oracle_report == "Clear lungs."
    with pytest.raises(
        DataError, match=r"has no column 'text'; its columns are 'image', 'report', .*given in `columns`"
    ):
        HfDataset(path, columns={"report": "text"}).open()
    with pytest.raises(SettingError, match="columns renames 'part'; it can rename image, report, study_id"):
        HfDataset(path, columns={"part": "x"})
    near = save(tmp_path / "near", rows(4, patients_id=["a"] * 4))
    with pytest.raises(DataError, match="column 'patients_id' is near 'patient_id'"):
        HfDataset(near).open()


def test_what_cannot_be_used_is_told_in_one_line(tmp_path):
    with pytest.raises(DataError, match="can't be opened as a Hugging Face data set") as caught:
        HfDataset(str(tmp_path / "nowhere")).open()
    assert "\n" not in str(caught.value)
    twice = save(tmp_path / "twice", rows(4, study_id=["a", "a", "b", "c"]))
    with pytest.raises(DataError, match="study a stands in two rows; each must be one row with all its images"):
        HfDataset(twice).open()
    columns = rows(4)
    columns["image"][1] = None
    with pytest.raises(DataError, match="study train-1, row 1 of train, has no image"):
        HfDataset(save(tmp_path / "none", columns)).open()
    datasets.Dataset.from_dict({"image": [1] * 4, "report": [SECRET] * 4}).save_to_disk(str(tmp_path / "other"))
    with pytest.raises(DataError, match="column 'image' holds Value; it must hold images, or lists of images"):
        HfDataset(str(tmp_path / "other")).open()
    path = save(tmp_path / "odd", None, train=rows(3), rest=rows(1))
    with pytest.raises(DataError, match=r"split 'rest' is none of train .*; rename the splits of the data set"):
        HfDataset(path).open()


def test_a_damaged_image_is_named_by_its_row(tmp_path):
    columns = rows(4)
    columns["image"][0]["bytes"] = columns["image"][0]["bytes"][:60]
    source = HfDataset(save(tmp_path / "d", columns), validate_fraction=0.0, test_fraction=0.0).open()
    with pytest.raises(DataError, match=r"study train-0: image train/0/0 of .*/d is truncated or damaged"):
        source.load_images(source.read("train-0"))


def ids(source):
    return [[entry.study_id for entry in source.entries(split)] for split in Split]


def test_a_column_split_counts_and_one_by_another_name_is_refused(tmp_path):
    words = ["train", "train", "dev", "testing"]
    path = save(tmp_path / "d", rows(4, split=words, scanner=["x"] * 4))
    assert ids(HfDataset(path).open()) == [["train-0", "train-1"], ["train-2"], ["train-3"]]
    assert "columns of train passed over: scanner" in check_data_set(HfDataset(path)).notes
    path = save(tmp_path / "other", rows(4, fold=words))
    with pytest.raises(DataError, match=r"column 'fold' names splits, .* set columns=\{split: fold\}"):
        HfDataset(path).open()
    assert len(HfDataset(path, columns={"split": "fold"}).open().entries(Split.TEST)) == 1
    path = save(tmp_path / "against", None, train=rows(2, split=["train", "test"]), test=rows(1, split=["test"]))
    with pytest.raises(DataError, match="row 1 of train: its column split is 'test', but it stands in the split train"):
        HfDataset(path).open()


def test_a_study_id_that_is_blank_is_its_row(tmp_path):
    source = HfDataset(save(tmp_path / "d", None, test=rows(2, study_id=["nan", " a "]))).open()
    assert ids(source)[2] == ["test-0", "a"]


def test_a_test_split_alone_is_never_trained_on(tmp_path):
    assert ids(HfDataset(save(tmp_path / "d", None, test=rows(2))).open()) == [[], [], ["test-0", "test-1"]]


def test_one_patient_by_two_spellings_is_in_one_split(tmp_path):
    path = save(tmp_path / "d", None, train=rows(1, patient_id=["p7 "]), test=rows(1, patient_id=["p7"]))
    with pytest.raises(DataError, match="1 patients have studies in several splits"):
        HfDataset(path).open()


def test_lists_hold_a_view_for_each_image_and_reports_are_no_lists(tmp_path):
    image = datasets.List(datasets.Image())

    def listed(name, images, **columns):
        made = datasets.Dataset.from_dict({"image": images} | {"report": ["Edema."] * len(images)} | columns)
        datasets.DatasetDict(test=made.cast_column("image", image)).save_to_disk(str(tmp_path / name))
        return HfDataset(str(tmp_path / name), views="all")

    source = listed("d", [[png(), None, png((50, 30))], [png()]], view=[["pa", "x", "LATERAL"], ["AP"]]).open()
    study = source.read("test-0")
    assert study.views == ("PA", "LATERAL")
    assert [image.size for image in source.load_images(study)] == [(40, 30), (50, 30)]
    with pytest.raises(DataError, match="row 0 of test: it has 2 images, and 1 views"):
        listed("few", [[png(), png()]], view=[["PA"]]).open()
    with pytest.raises(DataError, match="column 'report' holds List; it must hold text") as caught:
        listed("reports", [[png()]], report=[[SECRET]]).open()
    assert SECRET not in str(caught.value)
