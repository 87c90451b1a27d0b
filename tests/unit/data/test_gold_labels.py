import shutil

import pytest
from tests.unit.data.chexpert_folder import ChexpertFolder, row

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.check import check_data_set
from orapo.data.chexpert_gold import ChexpertGold, parts_there
from orapo.data.chexpert_gold_table import read_gold_labels
from orapo.data.source import LeftOut, StudySource
from orapo.errors import DataError, SettingError
from orapo.records import Split

VALID = [
    "valid/patient64541/study1/view1_frontal.jpg",
    "valid/patient64542/study1/view2_lateral.jpg",
    "valid/patient64542/study1/view1_frontal.jpg",
    "valid/patient64543/study1/view1_lateral.jpg",
]
TEST = [path.replace("valid/patient645", "test/patient647") for path in VALID]


@pytest.fixture
def folder(tmp_path):
    return ChexpertFolder(tmp_path)


def gold_rows(paths, prefix="", **labels):
    return [{"Path": prefix + path} | labels for path in paths]


def study_rows(paths, prefix="CheXpert-v1.0/", **labels):
    studies = dict.fromkeys(path.rsplit("/", 1)[0] for path in paths)
    return [{"Study": prefix + study} | labels for study in studies]


def test_labels_are_of_studies_by_name_in_any_order(folder):
    rows = gold_rows(VALID, "CheXpert-v1.0/", Edema="1.0") + gold_rows(TEST[:1], Fracture="1", **{"No Finding": "0"})
    gold = read_gold_labels(folder.write_gold(rows).root / "valid.csv")
    assert list(gold.states) == [
        "valid/patient64541/study1",
        "valid/patient64542/study1",
        "valid/patient64543/study1",
        "test/patient64741/study1",
    ]
    negative = dict.fromkeys(OBSERVATIONS, LabelState.NEGATIVE)
    assert gold.states["valid/patient64541/study1"] == negative | {Observation.EDEMA: LabelState.POSITIVE}
    assert gold.states["test/patient64741/study1"] == negative | {Observation.FRACTURE: LabelState.POSITIVE}
    assert gold.stems["valid/patient64542/study1"] == ("view1_frontal", "view2_lateral")


@pytest.mark.parametrize("prefix", ["", "CheXpert-v1.0/", "CheXpert-v1.0-small/", "chexlocalize/CheXpert/"])
@pytest.mark.parametrize("part", ["valid", "val", "test"])
def test_parts_are_found_behind_any_prefix(folder, prefix, part):
    rows = gold_rows([VALID[0].replace("valid", part)], prefix)
    gold = read_gold_labels(folder.write_gold(rows).root / "valid.csv")
    assert list(gold.states) == [f"{part.replace('val', 'valid') if part == 'val' else part}/patient64541/study1"]


def test_a_row_for_each_study_is_another_known_form(folder):
    folder.write_gold(study_rows(TEST, Edema="1"), "groundtruth.csv", ["Study"])
    gold = read_gold_labels(folder.root / "groundtruth.csv")
    assert list(gold.states) == [f"test/patient6474{number}/study1" for number in (1, 2, 3)]
    assert set(gold.stems.values()) == {()}


def test_columns_of_version_one_and_the_older_name_are_read(folder):
    columns = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
    rows = [{"Path": VALID[0], "Sex": "Male", "Age": "73", "Frontal/Lateral": "Frontal", "AP/PA": "AP", "Edema": "1.0"}]
    path = folder.write_gold(rows, first=columns).root / "valid.csv"
    first = read_gold_labels(path).states
    path.write_text(path.read_text().replace("Lung Opacity", "Airspace Opacity"))
    assert read_gold_labels(path).states == first


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (gold_rows(VALID[:1], Edema=""), "line 2: Edema is ''; radiologists' labels are 0 or 1, never blank"),
        (gold_rows(VALID[:1], Edema="-1.0"), "line 2: Edema is '-1.0'; radiologists' labels are 0 or 1, never blank"),
        (gold_rows(["train/patient1/study1/view1_frontal.jpg"]), "line 2: train/patient1/study1 is a training study"),
        (
            gold_rows(["patient1/study1/view1_frontal.jpg"]),
            "line 2: 'patient1/study1/view1_frontal.jpg' does not end like",
        ),
        (gold_rows(["valid/patient1/study1/view1.jpg"]), "line 2: image 'view1' is called neither frontal nor lateral"),
        (
            gold_rows(VALID[1:2]) + gold_rows(VALID[2:3], Edema="1"),
            "line 3: valid/patient64542/study1: Edema differs from an earlier image of the study",
        ),
    ],
)
def test_other_labels_and_paths_are_refused_by_line(folder, rows, message):
    path = folder.write_gold(rows).root / "valid.csv"
    with pytest.raises(DataError) as error:
        read_gold_labels(path)
    assert str(error.value).startswith(f"{path} {message}")


def test_unknown_columns_are_listed(folder):
    path = folder.write_gold([{"image": VALID[0]}], first=["image"]).root / "valid.csv"
    with pytest.raises(
        DataError, match=r"has no column Path .or Study.; its columns are No Finding, .*, image; known are"
    ):
        read_gold_labels(path)
    path.write_text(path.read_text().replace("Edema", "Swelling"))
    with pytest.raises(DataError, match=r"has no column Path .or Study., Edema; its columns are "):
        read_gold_labels(path)
    path.write_text(path.read_text().replace("Swelling", "Oedema"))
    with pytest.raises(DataError, match="column 'Oedema' is near 'Edema' and would be passed over"):
        read_gold_labels(path)


def test_the_source_tests_on_all_labelled_studies_without_reports(folder):
    folder.write_gold(gold_rows(TEST, Edema="1.0"), "CheXpert/test_labels.csv").write_images(TEST, "CheXpert", ".jpg")
    source = ChexpertGold(str(folder.root), part="test").open()
    assert isinstance(source, StudySource)
    assert [entry.study_id for entry in source.entries(Split.TEST)] == ["patient64741/study1", "patient64742/study1"]
    assert source.left_out(Split.TEST) == [LeftOut("patient64743/study1", "no frontal image")]
    for split in (Split.TRAIN, Split.VALIDATE):
        assert source.entries(split) == []
        assert source.left_out(split) == []
    study = source.read("patient64742/study1")
    assert study.oracle_report == ""
    assert study.split is Split.TEST
    assert study.views == ("FRONTAL",)
    assert study.image_paths == (f"{folder.root}/CheXpert/test/patient64742/study1/view1_frontal.jpg",)
    assert study.labels[Observation.EDEMA] is LabelState.POSITIVE
    assert [image.mode for image in source.load_images(study)] == ["RGB"]
    with pytest.raises(DataError, match="study patient64743/study1 is not listed, or it is left out"):
        source.read("patient64743/study1")
    everything = ChexpertGold(str(folder.root), part="test", views="all").open()
    assert everything.read("patient64742/study1").views == ("FRONTAL", "LATERAL")
    assert len(everything.entries(Split.TEST)) == 3
    assert ChexpertGold(str(folder.root), part="test", views="all", max_images=1).open().read(
        "patient64742/study1"
    ).views == ("FRONTAL",)


def test_a_file_of_studies_takes_the_images_that_are_there(folder):
    folder.write_gold(study_rows(TEST), "groundtruth.csv", ["Study"]).write_images(TEST[1:], ".", ".jpg")
    source = ChexpertGold(str(folder.root), part="test", views="all").open()
    assert len(source.entries(Split.TEST)) == 3
    assert source.read("patient64742/study1").views == ("FRONTAL", "LATERAL")
    with pytest.raises(DataError, match="study patient64741/study1: it has no image"):
        source.read("patient64741/study1")
    for stray in ("viewer.jpg", "view_a.jpg"):
        next(folder.root.rglob("patient64743/study1")).joinpath(stray).write_bytes(b"")
    assert source.read("patient64743/study1").views == ("LATERAL",)
    frontal = ChexpertGold(str(folder.root), part="test").open()
    assert frontal.read("patient64743/study1") == LeftOut("patient64743/study1", "no frontal image")


@pytest.mark.parametrize(
    "base", ["CheXpert", "CheXpert-v1.0", "CheXpert-v1.0-small", "CheXpert-v1.0 batch 1 (validate & csv)"]
)
def test_the_validation_part_is_found_in_each_download(folder, base):
    val = base == "CheXpert"
    paths = [path.replace("valid", "val") for path in VALID] if val else VALID
    folder.write_gold(gold_rows(paths), f"{base}/{'val_labels' if val else 'valid'}.csv")
    folder.write_images(paths, base, ".jpg")
    source = ChexpertGold(str(folder.root)).open()
    assert source.read("patient64541/study1").image_paths == (f"{folder.root}/{base}/{paths[0]}",)


def test_reports_of_the_validation_part_come_from_chexpert_plus(folder, tmp_path):
    plus = ChexpertFolder(tmp_path / "plus")
    plus.root.mkdir()
    plus.write_table(
        [row(VALID[0]), row(VALID[2], section_findings=""), row("train/patient64543/study1/view1_frontal.jpg")]
    )
    folder.write_gold(gold_rows(VALID)).write_images(VALID, ".", ".jpg")
    source = ChexpertGold(str(folder.root), reports=str(plus.root), views="all").open()
    assert [entry.study_id for entry in source.entries(Split.TEST)] == ["patient64541/study1"]
    assert source.read("patient64541/study1").oracle_report == "MILD EDEMA, PATIENT64541. NO EFFUSION."
    assert source.left_out(Split.TEST) == [
        LeftOut("patient64542/study1", "no findings section"),
        LeftOut("patient64543/study1", "no report"),
    ]
    impression = ChexpertGold(str(folder.root), reports=str(plus.root), target="impression").open()
    assert impression.read("patient64542/study1").oracle_report == "1. EDEMA OF PATIENT64542."
    assert ChexpertGold(str(folder.root)).open().read("patient64542/study1").oracle_report == ""


def test_missing_files_are_named_at_once(folder):
    with pytest.raises(DataError) as error:
        ChexpertGold(str(folder.root), part="test").open()
    message = str(error.value)
    assert message.startswith("CheXpert's radiologists' labels: 2 of 2 needed are missing: the labels of the test part")
    for place in (
        "test_labels.csv",
        "CheXpert/test_labels.csv",
        "groundtruth.csv",
        "CheXpert-v1.0/test",
        "aimi.stanford",
    ):
        assert place in message


def test_a_file_of_the_other_part_is_refused(folder):
    path = folder.write_gold(gold_rows(VALID)).write_images(TEST, ".", ".jpg").root / "valid.csv"
    with pytest.raises(DataError, match="has no study of part 'test'; its studies are of valid"):
        ChexpertGold(str(folder.root), part="test", gold_labels=str(path)).open()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "train"}, "part is 'train'; it must be one of valid, test"),
        ({"part": "test", "reports": "plus"}, "reports is 'plus', but reports of the test part are private"),
        ({"target": "all"}, "target is 'all'"),
        ({"views": "AP"}, "views is 'AP'"),
        ({"max_images": 0}, "max_images is 0"),
        ({"longest_side": 3}, "longest_side is 3"),
    ],
)
def test_settings_out_of_range_are_refused(folder, options, message):
    with pytest.raises(SettingError, match=message):
        ChexpertGold(str(folder.root), **options).open()


def test_the_digest_follows_labels_and_settings_but_not_the_place(folder, tmp_path):
    folder.write_gold(gold_rows(VALID)).write_images(VALID, ".", ".jpg")
    first = ChexpertGold(str(folder.root)).open().digest()
    shutil.copytree(folder.root, tmp_path / "elsewhere")
    assert ChexpertGold(str(tmp_path / "elsewhere")).open().digest() == first
    other = ChexpertGold(str(folder.root), views="all").open().digest()
    folder.write_gold(gold_rows(VALID, Edema="1"))
    assert len({first, other, ChexpertGold(str(folder.root)).open().digest()}) == 3


def test_the_check_counts_both_parts(folder):
    folder.write_gold(gold_rows(VALID, Edema="1"), "val_labels.csv").write_images(VALID, ".", ".jpg")
    folder.write_gold(study_rows(TEST), "groundtruth.csv", ["Study"]).write_images(TEST, ".", ".jpg")
    valid, test = map(check_data_set, parts_there(str(folder.root)))
    assert (valid.problems, test.problems) == ((), ())
    counts = {"studies": 3, "images": 4, "patients": 3, "gold: Edema positive": 3, "image files": 4}
    assert {key: valid.counts[key] for key in counts} == counts
    counts = {"studies": 3, "image files": 4, "gold: Edema positive": 0}
    assert {key: test.counts[key] for key in counts} == counts
    assert f"the labels of the valid part: {folder.root}/val_labels.csv" in valid.found[1]
    assert "studies: 3 here, 500 in the published set" in test.notes


def test_the_check_tells_what_is_missing(folder):
    (settings,) = parts_there(str(folder.root))
    problems = check_data_set(settings).problems
    assert [problem.split(" (")[0] for problem in problems] == [
        "missing: the images",
        "missing: the labels of the valid part",
    ]
    folder.write_gold(gold_rows(VALID), "valid.csv").write_images(VALID[1:], ".", ".jpg")
    (problem,) = check_data_set(parts_there(str(folder.root))[0]).problems
    assert problem.startswith("study patient64541/study1: image valid/patient64541/study1/view1_frontal is missing")
    folder.write_gold(study_rows(TEST), "test_labels.csv", ["Study"])
    test = check_data_set(parts_there(str(folder.root))[1])
    assert test.problems[0].startswith("missing: the images (looked for ")
    folder.write_gold(gold_rows(VALID, Edema="?"), "valid.csv")
    assert "label code '?' is none of" in check_data_set(parts_there(str(folder.root))[0]).problems[0]
    assert "no folder given" in check_data_set(parts_there(None)[0]).problems[0]
