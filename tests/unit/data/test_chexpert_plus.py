import gzip
import json
import logging
import pickle
import re
import shutil

import pytest
from tests.unit.data.chexpert_folder import COLUMNS, ChexpertFolder, label, row

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.chexpert_plus import ChexpertPlus
from orapo.data.source import LeftOut, StudySource
from orapo.errors import DataError, SettingError
from orapo.labeler.types import LabeledReport
from orapo.records import Split

FIRST = "train/patient00001/study1/view1_frontal.jpg"
SECOND = "train/patient00002/study1/view1_frontal.jpg"
OFFICIAL = "valid/patient64541/study1/view1_frontal.jpg"
PATHS = (FIRST, SECOND, OFFICIAL)


@pytest.fixture
def folder(tmp_path):
    return ChexpertFolder(tmp_path)


def fill(folder, rows=None, labels=None, images=None):
    rows = [row(path) for path in PATHS] if rows is None else rows
    paths = [cells["path_to_image"] for cells in rows]
    folder.write_table(rows).write_images(paths if images is None else images)
    return folder.write_labels([label(path, Edema=1.0) for path in paths] if labels is None else labels)


def source(folder, **options):
    return ChexpertPlus(str(folder.root), **{"num_validate_patients": 1, "seed": 0} | options).open()


def listed(source):
    return [entry.study_id for split in Split for entry in source.entries(split)]


def test_a_study_has_images_report_and_labels_of_its_rows(folder):
    lateral = "train/patient00001/study1/view2_lateral.jpg"
    rows = [row(lateral), row(FIRST), row(SECOND), row(OFFICIAL)]
    fill(
        folder,
        rows,
        [label(path, **{"Edema": 1.0, "Fracture": -1.0, "No Finding": 0.0}) for path in (lateral, SECOND, OFFICIAL)],
    )
    plus = source(folder, views="all")
    assert isinstance(plus, StudySource)
    study = plus.read("patient00001/study1")
    assert study.patient_id == "patient00001"
    assert study.split is Split.TRAIN
    assert study.oracle_report == "MILD EDEMA, PATIENT00001. NO EFFUSION."
    assert study.views == ("AP", "LATERAL")
    assert [path.removeprefix(str(folder.root)) for path in study.image_paths] == [
        "/PNG/train/patient00001/study1/view1_frontal.png",
        "/PNG/train/patient00001/study1/view2_lateral.png",
    ]
    assert [image.size for image in plus.load_images(study)] == [(61, 50), (60, 50)]
    states = {name: state for name, state in study.labels.items() if state is not LabelState.UNMENTIONED}
    assert states == {
        Observation.EDEMA: LabelState.POSITIVE,
        Observation.FRACTURE: LabelState.UNCERTAIN,
        Observation.NO_FINDING: LabelState.NEGATIVE,
    }
    assert list(study.labels) == list(OBSERVATIONS)


def test_official_valid_tests_and_patients_held_out_validate(folder):
    plus = source(fill(folder))
    assert [entry.study_id for entry in plus.entries(Split.TRAIN)] == ["patient00001/study1"]
    assert [entry.study_id for entry in plus.entries(Split.VALIDATE)] == ["patient00002/study1"]
    assert [entry.study_id for entry in plus.entries(Split.TEST)] == ["patient64541/study1"]
    assert [plus.read(study_id).split for study_id in listed(plus)] == list(Split)


def test_held_out_patients_depend_on_seed_alone(folder):
    paths = [f"train/patient{number:05}/study{study}/view1_frontal.jpg" for number in range(1, 41) for study in (1, 2)]
    rows = [row(path, section_findings="" if "study2" in path else "CLEAR.") for path in paths]
    fill(folder, rows, images=paths[:1])
    labels = [label(path) for path in paths]
    folder.write_labels(labels, "chexbert_labels/impression_fixed.json")

    def patients(**options):
        plus = source(folder, num_validate_patients=10, **options)
        parts = [{entry.patient_id for entry in plus.entries(split)} for split in Split]
        assert parts[0].isdisjoint(parts[1])
        assert [len(part) for part in parts] == [32, 8, 0]  # 10 are asked for; a fifth of 40 is the most
        return parts[1]

    first = patients()
    assert patients(target="impression") == first
    assert patients(seed=2) != first


def test_of_few_patients_one_is_held_out(folder):
    plus = source(fill(folder), num_validate_patients=2)
    assert len({entry.patient_id for entry in plus.entries(Split.VALIDATE)}) == 1


def test_the_first_row_of_a_study_counts_for_text_and_labels(folder):
    second = "train/patient00001/study1/view2_frontal.jpg"
    rows = [
        row(second, section_findings="CLEAR ON MONDAY."),
        row(FIRST, section_findings="CLEAR ON SUNDAY."),
        row(SECOND),
    ]
    fill(folder, rows, [label(FIRST, Edema=0.0), label(second, Edema=1.0), label(SECOND)])
    study = source(folder).read("patient00001/study1")
    assert study.oracle_report == "CLEAR ON MONDAY."
    assert study.labels[Observation.EDEMA] is LabelState.POSITIVE
    assert [path[-9:] for path in study.image_paths] == ["ontal.png"] * 2
    assert [path.rsplit("/", 1)[1][:5] for path in study.image_paths] == ["view1", "view2"]


def test_images_are_in_the_order_of_view_numbers_and_cut_to_the_most_allowed(folder):
    views = [f"train/patient00001/study1/view{number}_frontal.jpg" for number in (10, 2, 1)]
    fill(folder, [row(views[0]), row(views[1], ap_pa="PA"), row(views[2], ap_pa="LL"), row(SECOND)])
    assert source(folder, views="all").read("patient00001/study1").views == ("LL", "PA", "AP")
    assert source(folder).read("patient00001/study1").views == ("PA", "AP")
    assert source(folder, max_images=1).read("patient00001/study1").views == ("PA",)


def test_studies_are_left_out_for_section_view_and_labels_and_listed(folder):
    paths = [f"train/patient{number:05}/study1/view1_frontal.jpg" for number in range(1, 10)]
    lateral = "train/patient00006/study1/view1_lateral.jpg"
    rows = [
        row(paths[0]),
        row(paths[1], section_findings=""),
        row(paths[2], section_findings=" \n "),
        row(paths[3], section_findings="NaN"),
        row(lateral),
        row(lateral.replace("6", "7"), section_findings=""),
        row(paths[7]),
        row(paths[8], section_findings="___."),
        row(OFFICIAL, section_findings=""),
        row(OFFICIAL.replace("64541", "64542")),
    ]
    labels = [
        label(cells["path_to_image"], **{"No Finding": 1.0}) for cells in rows if cells["path_to_image"] != paths[7]
    ]
    plus = source(fill(folder, rows, labels))
    no_findings, no_frontal = "no findings section", "no frontal image"
    everything = [left_out for split in Split for left_out in plus.left_out(split)]
    assert sorted(everything, key=lambda left_out: left_out.study_id) == [
        LeftOut("patient00002/study1", no_findings),
        LeftOut("patient00003/study1", no_findings),
        LeftOut("patient00004/study1", no_findings),
        LeftOut("patient00006/study1", no_frontal),
        LeftOut("patient00007/study1", no_findings),
        LeftOut("patient00008/study1", "no labels"),
        LeftOut("patient00009/study1", no_findings),
        LeftOut("patient64541/study1", no_findings),
    ]
    assert plus.left_out(Split.TEST) == [LeftOut("patient64541/study1", no_findings)]
    assert sorted(listed(plus)) == ["patient00001/study1", "patient64542/study1"]
    with pytest.raises(DataError, match="study patient00002/study1 is not listed, or it is left out"):
        plus.read("patient00002/study1")


def test_sections_choose_text_and_the_file_of_labels(folder):
    rows = [row(FIRST), row(SECOND, section_impression=""), row("train/patient00003/study1/view1_frontal.jpg")]
    fill(folder, rows)
    paths = [cells["path_to_image"] for cells in rows]
    folder.write_labels([label(path, Fracture=1.0) for path in paths], "labels/impression_fixed.json")
    folder.write_labels([label(path, Pneumonia=1.0) for path in paths], "report_fixed.json")
    for sections, text, observation in (
        ("findings", "MILD EDEMA, PATIENT00001. NO EFFUSION.", Observation.EDEMA),
        ("impression", "1. EDEMA OF PATIENT00001.", Observation.FRACTURE),
        (
            "both",
            "Findings: MILD EDEMA, PATIENT00001. NO EFFUSION. Impression: 1. EDEMA OF PATIENT00001.",
            Observation.PNEUMONIA,
        ),
    ):
        plus = source(folder, target=sections)
        study = plus.read("patient00001/study1")
        assert study.oracle_report == text
        assert [name for name, state in study.labels.items() if state is LabelState.POSITIVE] == [observation]
        left_out = [] if sections == "findings" else [LeftOut("patient00002/study1", "no impression section")]
        assert [study for split in Split for study in plus.left_out(split)] == left_out


def test_prefixes_other_columns_and_gzip_are_ordinary(folder):
    columns = tuple(reversed(COLUMNS))
    fill(folder, images=PATHS)
    plain = source(folder)
    for prefix in ("CheXpert-v1.0/", "CheXpert-v1.0-small/", "/data/"):
        rows = [row(path) | {"path_to_image": prefix + path} for path in PATHS]
        folder.write_table(rows, columns, index=False)
        prefixed = source(folder)
        assert [prefixed.read(study_id) for study_id in listed(prefixed)] == [plain.read(i) for i in listed(plain)]
    table = folder.root / "df_chexpert_plus_240401.csv"
    with gzip.open(f"{table}.gz", "wb") as file:
        file.write(table.read_bytes())
    table.unlink()
    assert listed(source(folder)) == listed(plain)


def test_odd_rows_are_passed_over_and_told_by_number(folder, caplog):
    rows = [
        row(FIRST),
        row(FIRST, section_findings="CLEAR."),
        row(SECOND, deid_patient_id="patient00009"),
        row(OFFICIAL),
    ]
    rows.append(row("valid/patient64541/study1/view2_lateral.jpg", section_findings=""))
    fill(folder, rows, [label(path) for path in PATHS])
    with caplog.at_level(logging.WARNING):
        plus = source(folder)
    assert plus.read("patient00001/study1").oracle_report.startswith("MILD EDEMA")
    assert len(plus.read("patient00001/study1").image_paths) == 1
    assert plus.read("patient00002/study1").patient_id == "patient00002"
    warnings = [record.getMessage().split(": ", 1)[1] for record in caplog.records]
    assert warnings == [
        "1 rows repeat the image of an earlier row and are passed over (the first is in line 7)",
        "1 rows have another deid_patient_id than the patient's folder, which counts (the first is in line 10)",
        "1 rows have other sections than the first row of their study, which counts (the first is in line 20)",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path_to_image": "patient00001/study1/view1_frontal.jpg"}, "does not end like train/patient00001/study1"),
        ({"path_to_image": "train/patient00001/view1_frontal.jpg"}, "does not end like train/patient00001/study1"),
        (
            {"path_to_image": "train/patient00001/study1/frontal.jpg"},
            "does not end like train/patient00001/study1/view1",
        ),
        ({"path_to_image": ""}, "'' does not end like train/patient00001/study1/view1"),
        ({"split": "valid"}, "split is 'valid' but path_to_image starts with train"),
        ({"path_to_image": "MILD EDEMA."}, "11 characters of text does not end like train"),
        ({"split": "MILD EDEMA."}, "split is 11 characters of text but path_to_image"),
        ({"split": ""}, "split is '' but path_to_image starts with train"),
        ({"frontal_lateral": ""}, "frontal_lateral is ''; it must be Frontal or Lateral"),
    ],
)
def test_a_broken_row_is_an_error_that_names_it_and_quotes_no_report(folder, changes, message):
    fill(folder, [row(SECOND), row(FIRST) | changes], labels=[], images=PATHS)
    with pytest.raises(DataError, match=r"240401\.csv line 7: ") as error:
        source(folder)
    assert message in str(error.value)
    assert "EDEMA" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_patient_in_both_parts_is_an_error(folder):
    fill(folder, [row(FIRST), row(SECOND), row("valid/patient00001/study7/view1_frontal.jpg")])
    with pytest.raises(
        DataError,
        match="CheXpert Plus: 1 patients have studies in several splits, for example that of",
    ):
        source(folder)


def test_all_missing_files_are_named_at_once(folder):
    with pytest.raises(DataError) as error:
        source(folder, gold_labels=str(folder.root / "gold.csv"))
    message = str(error.value)
    assert message.startswith("CheXpert Plus: 4 of 4 needed are missing: the table of reports (looked for ")
    for name in (
        "df_chexpert_plus_240401.csv and ",
        "chexbert_labels/findings_fixed.json",
        "labels/findings_fixed.json",
        "PNG/train",
        "png_chexpert_plus_chunk_0/PNG/train",
        "CheXpert-v1.0/train",
        "DICOM/Uncompressed/train",
        "gold_labels (looked for",
        "https://aimi.stanford.edu/datasets/chexpert-plus",
    ):
        assert name in message
    with pytest.raises(
        DataError, match=r"no folder given; set data\.root or the environment variable ORAPO_CHEXPERT_PLUS"
    ):
        ChexpertPlus(None).open()


def test_a_missing_column_is_named(folder):
    fill(folder)
    folder.write_table([row(FIRST)], [column for column in COLUMNS if column != "section_findings"])
    with pytest.raises(DataError, match="has no column 'section_findings'; its columns are '', 'path_to_image'"):
        source(folder)


def test_a_missing_image_is_named_with_the_places(folder):
    plus = source(fill(folder, images=[SECOND, OFFICIAL]))
    assert listed(plus)[0] == "patient00001/study1"
    with pytest.raises(DataError) as error:
        plus.read("patient00001/study1")
    assert str(error.value) == (
        "study patient00001/study1: image train/patient00001/study1/view1_frontal is missing "
        f"(looked for {folder.root}/PNG/train/patient00001/study1/view1_frontal.png)"
    )


class WordLabeler:
    def __init__(self):
        self.read = []

    def label(self, report):
        self.read.append(report)
        states = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
        return LabeledReport(states | {Observation.EDEMA: LabelState.POSITIVE}, ())


def test_the_labeler_reads_the_chosen_text_of_usable_studies_only(folder):
    rows = [row(FIRST), row(SECOND), row("train/patient00003/study1/view1_frontal.jpg", section_findings="")]
    fill(folder, rows)
    shutil.rmtree(folder.root / "chexbert_labels")
    labeler = WordLabeler()
    plus = source(folder, labels="labeler", labeler=labeler)
    assert labeler.read == ["MILD EDEMA, PATIENT00001. NO EFFUSION.", "MILD EDEMA, PATIENT00002. NO EFFUSION."]
    states = [entry.labels for split in Split for entry in plus.entries(split)]
    assert all(labels[Observation.EDEMA] is LabelState.POSITIVE for labels in states)
    assert states[0] is states[1]
    real = source(folder, labels="labeler")
    assert real.read("patient00001/study1").labels[Observation.PLEURAL_EFFUSION] is LabelState.NEGATIVE
    assert real.digest() != plus.digest()


def test_gold_labels_replace_those_of_test_studies(folder):
    fill(folder, labels=[label(path, Edema=1.0) for path in (FIRST, SECOND)])
    gold = (
        folder.write_gold([{"Path": f"CheXpert-v1.0/{OFFICIAL}", "Fracture": "1.0"}], "v1/valid.csv").root
        / "v1/valid.csv"
    )
    assert source(folder).left_out(Split.TEST) == [LeftOut("patient64541/study1", "no labels")]
    labeler = WordLabeler()
    for options in ({}, {"labels": "labeler", "labeler": labeler}):
        plus = source(folder, gold_labels=str(gold), **options)
        labels = plus.read("patient64541/study1").labels
        assert labels[Observation.FRACTURE] is LabelState.POSITIVE
        assert labels[Observation.EDEMA] is LabelState.NEGATIVE
        assert plus.read("patient00001/study1").labels[Observation.EDEMA] is LabelState.POSITIVE
    assert not any("64541" in report for report in labeler.read)


def test_test_studies_without_a_gold_row_are_an_error(folder):
    more = [OFFICIAL.replace("64541", str(number)) for number in range(64542, 64546)]
    fill(folder, [row(path) for path in (*PATHS, *more)])
    folder.write_gold([{"Path": OFFICIAL}], "val_labels.csv")
    with pytest.raises(DataError) as error:
        source(folder, gold_labels=str(folder.root / "val_labels.csv"))
    assert str(error.value) == (
        "gold_labels has no row for 4 of 5 TEST studies (valid/patient64542/study1, valid/patient64543/study1, "
        "valid/patient64544/study1, ...); is it the file of the validation part?"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "finding"}, "target is 'finding'; it must be one of findings, impression, both"),
        ({"views": "lateral"}, "views is 'lateral'; it must be one of frontal, all"),
        ({"images": "jpeg"}, "images is 'jpeg'; it must be one of auto, png, jpg, dicom"),
        ({"labels": "chexpert"}, "labels is 'chexpert'; it must be one of chexbert, labeler, table"),
        ({"labels": "table"}, "label_table is None and labels is 'table'"),
        ({"label_table": "a.csv"}, "label_table is 'a.csv' and labels is 'chexbert'"),
        ({"max_images": 0}, "max_images is 0"),
        ({"num_validate_patients": 0}, "num_validate_patients is 0"),
        ({"longest_side": 8}, "longest_side is 8"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(folder, options, message):
    with pytest.raises(SettingError, match=message):
        source(fill(folder), **options)


def test_the_digest_follows_tables_and_settings_but_not_the_place(folder, tmp_path):
    fill(folder).write_gold([{"Path": OFFICIAL}], "gold.csv")
    first = source(folder).digest()
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder.root, moved)
    assert source(ChexpertFolder(moved)).digest() == first
    assert re.fullmatch("2:[0-9a-f]{64}", first)
    gold = str(folder.root / "gold.csv")
    others = [
        source(folder, **options).digest()
        for options in ({"seed": 3}, {"views": "all"}, {"max_images": 1}, {"longest_side": 64}, {"gold_labels": gold})
    ]
    folder.write_labels([label(path, Edema=0.0) for path in PATHS])
    others.append(source(folder).digest())
    folder.write_table([row(path, age="9") for path in PATHS])
    others.append(source(folder).digest())
    assert len({first, *others}) == 8


def test_a_source_can_be_sent_to_worker_processes(folder):
    plus = source(fill(folder))
    assert pickle.loads(pickle.dumps(plus)).read("patient00001/study1") == plus.read("patient00001/study1")


def test_labels_of_a_truncated_download_are_refused_by_line(folder):
    fill(folder)
    path = folder.root / "chexbert_labels" / "findings_fixed.json"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(DataError, match=r"findings_fixed\.json, line 3: not JSON; is it complete"):
        source(folder)
    path.write_text(json.dumps({"path_to_image": FIRST}) + "\n")
    with pytest.raises(DataError, match="line 1 has no key 'No Finding'"):
        source(folder)
