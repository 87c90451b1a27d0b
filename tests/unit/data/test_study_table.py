import csv
import gzip
import logging
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.source import StudySource
from orapo.data.study_table import StudyTable
from orapo.data.views import is_frontal
from orapo.errors import DataError, SettingError
from orapo.labeler.types import LabeledReport
from orapo.records import Context, Split

COLUMNS = ("study_id", "patient_id", "image_path", "view", "report")
LABELS = tuple(observation.value for observation in OBSERVATIONS)
NO_LABEL = dict.fromkeys(LABELS, "")


class EdemaLabeler:
    """Finds edema wherever the word stands."""

    def label(self, report):
        states = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
        if "edema" in report.lower():
            states[Observation.EDEMA] = LabelState.POSITIVE
        return LabeledReport(states, ())


def row(number, patient=None, **changes):
    """One row of the table, as a clinic might have it: a folder per patient."""
    patient = patient or f"p{number}"
    cells = {
        "study_id": f"s{number}",
        "patient_id": patient,
        "image_path": f"images/{patient}/s{number}_frontal.png",
        "view": "PA",
        "report": f"Heart size is normal, study {number}.\nMild edema at both bases.",
    }
    return cells | changes


class Folder:
    """A folder with a table and the images it lists."""

    def __init__(self, root):
        self.root = root
        self.csv = root / "studies.csv"

    def write(self, rows, columns=None, images=True):
        columns = columns or list(rows[0])
        with self.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        for index, cells in enumerate(rows if images else []):
            path = self.root / cells["image_path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (60 + index, 50), index % 256).save(path)
        return self

    def table(self, **options):
        options = {"validate_fraction": 0.0, "test_fraction": 0.0, "labeler": EdemaLabeler()} | options
        return StudyTable(str(self.csv), str(self.root), **options).open()


def write_labels(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["study_id", *LABELS])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def studies(table, split):
    return [table.read(entry.study_id) for entry in table.entries(split)]


def all_studies(table):
    return [study for split in Split for study in studies(table, split)]


def refusal(folder, rows, **options):
    """The one-line message with which a table is refused, its folder written as ROOT."""
    with pytest.raises(DataError) as caught:
        folder.write(rows).table(**options)
    message = str(caught.value).replace(str(folder.root), "ROOT")
    assert "\n" not in message
    return message


def test_a_table_becomes_studies_in_its_order(folder):
    table = folder.write([row(2), row(1, view="ap"), row(3, view="")]).table()
    assert isinstance(table, StudySource)
    second = studies(table, Split.TRAIN)[1]
    assert [study.study_id for study in studies(table, Split.TRAIN)] == ["s2", "s1", "s3"]
    assert (second.patient_id, second.views, second.split) == ("p1", ("AP",), Split.TRAIN)
    assert second.image_paths == (str(folder.root / "images/p1/s1_frontal.png"),)
    assert second.oracle_report == "Heart size is normal, study 1.\nMild edema at both bases."
    assert second.labels[Observation.EDEMA] is LabelState.POSITIVE
    assert list(second.labels) == list(OBSERVATIONS)
    assert pickle.loads(pickle.dumps(second)) == second


def test_images_are_opened_when_asked_for_and_shrunk(folder):
    table = folder.write([row(1), row(2)]).table(longest_side=32)
    (image,) = table.load_images(studies(table, Split.TRAIN)[1])
    assert (image.mode, image.size) == ("RGB", (32, 26))
    assert np.asarray(image).max() == 1
    path = folder.root / row(1)["image_path"]
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"study s1: image .*s1_frontal.png is truncated or damaged"):
        table.load_images(studies(table, Split.TRAIN)[0])


def test_rows_of_one_study_are_its_images(folder):
    lateral = row(1, image_path="images/p1/s1_lateral.png", view="LL")
    frontal = row(1, image_path="images/p1/s1_again.png", view="AP")
    folder.write([row(1), row(2), lateral, frontal])
    first = studies(folder.table(views="all"), Split.TRAIN)[0]
    assert first.views == ("PA", "LL", "AP")
    assert [Path(path).name for path in first.image_paths] == ["s1_frontal.png", "s1_lateral.png", "s1_again.png"]
    assert studies(folder.table(), Split.TRAIN)[0].views == ("PA", "AP")
    assert len(folder.table(views="all").load_images(first)) == 3


def test_the_view_filter_says_what_it_leaves_out(folder, caplog):
    folder.write([row(1), row(2, view="L"), row(3, view="lateral"), row(4, view="AP supine"), row(5, view="")])
    with caplog.at_level(logging.WARNING):
        assert [study.study_id for study in all_studies(folder.table())] == ["s1", "s4", "s5"]
    assert (
        "studies.csv: 2 of 5 studies left out (no frontal image: 2); images left out by view: L: 1, LATERAL: 1"
        in caplog.text
    )
    assert len(all_studies(folder.table(views="all"))) == 5


@pytest.mark.parametrize("view", ["", "PA", "AP", "AP SUPINE", "FRONTAL"])
def test_frontal_views(view):
    assert is_frontal(view)


@pytest.mark.parametrize("view", ["L", "LL", "RL", "LATERAL", "PALMAR", "LAO", "UNKNOWN"])
def test_other_views(view):
    assert not is_frontal(view)


def test_images_of_left_out_views_need_not_exist(folder):
    folder.write([row(1), row(2, view="L")])
    (folder.root / row(2)["image_path"]).unlink()
    assert len(all_studies(folder.table())) == 1


def test_label_columns_are_used_instead_of_the_labeler(folder):
    labels = NO_LABEL | {"Fracture": "1", "Edema": "0.0", "Pneumonia": "-1"}
    states = studies(folder.write([row(1) | labels]).table(), Split.TRAIN)[0].labels
    assert states[Observation.FRACTURE] is LabelState.POSITIVE
    assert states[Observation.EDEMA] is LabelState.NEGATIVE
    assert states[Observation.PNEUMONIA] is LabelState.UNCERTAIN
    assert states[Observation.NO_FINDING] is LabelState.UNMENTIONED


def test_a_split_column_is_followed_and_its_aliases_read(folder):
    splits = ["train", "valid", "val", "validate", "test"]
    table = folder.write([row(n, split=split) for n, split in enumerate(splits)]).table(test_fraction=0.9)
    assert [study.study_id for study in studies(table, Split.VALIDATE)] == ["s1", "s2", "s3"]
    assert [study.study_id for study in studies(table, Split.TEST)] == ["s4"]


def test_columns_can_have_other_names(folder):
    rows = [{{"report": "impression", "split": "part"}.get(k, k): v for k, v in row(1, split="test").items()}]
    table = folder.write(rows).table(columns={"report": "impression", "split": "part"})
    assert studies(table, Split.TEST)[0].oracle_report.startswith("Heart size")
    with pytest.raises(SettingError, match=r"columns renames 'reports'; it can rename study_id, .*, report, split"):
        folder.table(columns={"reports": "impression"})
    with pytest.raises(DataError, match="has no column 'fold'"):
        folder.table(columns={"report": "impression", "split": "fold"})


def test_a_table_from_a_spreadsheet_is_read(folder):
    folder.write([row(1), row(2)])
    text = folder.csv.read_text(encoding="utf-8").replace("\n", "\r\n")
    folder.csv.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [study.study_id for study in all_studies(folder.table())] == ["s1", "s2"]


PATIENTS_OF_STUDIES = st.lists(st.integers(0, 12), min_size=6, max_size=40).filter(lambda ids: len(set(ids)) >= 3)


@settings(max_examples=25)
@given(PATIENTS_OF_STUDIES, st.integers(0, 50), st.randoms(use_true_random=False))
def test_no_patient_straddles_and_the_order_of_rows_is_nothing(tmp_path_factory, patients, seed, random):
    folder = Folder(tmp_path_factory.mktemp("studies"))
    views = random.choices(["PA", "L"], [0.8, 0.2], k=len(patients))
    views[0] = "PA"
    rows = [row(n, f"p{patient}", view=views[n]) for n, patient in enumerate(patients)]
    options = {"validate_fraction": 0.2, "test_fraction": 0.3, "seed": seed}
    everything = all_studies(folder.write(rows).table(views="all", **options))
    splits_of = {}
    for study in everything:
        splits_of.setdefault(study.patient_id, set()).add(study.split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert set().union(*splits_of.values()) == set(Split)
    random.shuffle(rows)
    again = all_studies(folder.write(rows).table(views="frontal", **options))
    by_id = {study.study_id: study.split for study in everything}
    assert all(by_id[study.study_id] is study.split for study in again)
    shutil.rmtree(folder.root)


def test_the_digest_follows_content_settings_and_labels_but_not_the_place(folder, tmp_path_factory):
    rows = [row(1), row(2)]
    digest = folder.write(rows).table().digest()
    assert re.fullmatch("2:[0-9a-f]{64}", digest)
    assert Folder(tmp_path_factory.mktemp("elsewhere")).write(rows).table().digest() == digest
    assert folder.table(seed=1).digest() != digest
    assert folder.table(longest_side=100).digest() != digest

    class NoLabeler:
        def label(self, report):
            return LabeledReport(dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED), ())

    assert folder.table(labeler=NoLabeler()).digest() != digest
    assert folder.write([row(1), row(2, report="Heart size is normal. Edema.")]).table().digest() != digest


@pytest.mark.parametrize("column", ["study_id", "patient_id", "image_path", "report"])
@pytest.mark.parametrize("value", ["", "  ", "NaN"])
def test_blank_cells_are_refused(folder, column, value):
    rows = [row(1), row(2)]
    folder.write(rows)  # the images
    rows[1][column] = value
    with pytest.raises(DataError) as caught:
        folder.write(rows, images=False).table()
    study_id = value.strip() if column == "study_id" else "s2"
    where = f"{folder.csv} line 4: study {study_id}: {column} is {value.strip()!r}; every row needs one"
    assert str(caught.value) == where


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_refused(folder, column):
    folder.write([row(1)], columns=[name for name in COLUMNS if name != column])
    others = ", ".join(repr(name) for name in COLUMNS if name != column)
    with pytest.raises(DataError) as caught:
        folder.table()
    assert str(caught.value) == (
        f"{folder.csv} has no column {column!r}; its columns are {others}; needed are study_id, patient_id, "
        "image_path, view, report (other names can be given in `columns`)"
    )


def test_a_table_with_semicolons_shows_its_one_column(folder):
    folder.csv.write_text("study_id;patient_id;report\ns1;p1;text\n")
    with pytest.raises(DataError, match=r"line 1: its columns are separated by ';'; save the table with commas"):
        folder.table()


def test_rows_of_one_study_must_agree(folder):
    second = {"image_path": "images/other.png"}
    assert refusal(folder, [row(1), row(1, report="Another text.", **second)]) == (
        "ROOT/studies.csv line 4: study s1: report differs from line 2; "
        "rows of one study are its images and must agree in everything else"
    )
    other_patient = row(1) | second | {"patient_id": "p9"}
    assert "line 4: study s1: patient_id differs from line 2" in refusal(folder, [row(1), other_patient])
    labels = [row(1) | NO_LABEL, row(1) | second | NO_LABEL | {"Edema": "1"}]
    assert "line 4: study s1: Edema differs from line 2" in refusal(folder, labels)


def test_an_image_may_be_listed_once(folder):
    assert refusal(folder, [row(1), row(1)]) == (
        "ROOT/studies.csv line 2: study s1: image s1_frontal.png is listed twice; an image may be listed once"
    )
    twice = refusal(folder, [row(1), row(2, image_path=row(1)["image_path"])])
    assert twice == (
        "ROOT/studies.csv line 4: study s2: image s1_frontal.png stands already in "
        "ROOT/studies.csv line 2: study s1; an image may be listed once"
    )


@pytest.mark.parametrize(
    "again", ["./images/p1/s1_frontal.png", "images//p1/../p1/s1_frontal.png", "linked.png", "p/s1_frontal.png"]
)
def test_one_image_by_another_path_is_one_image(folder, again):
    folder.write([row(1)])
    os.symlink(folder.root / "images/p1/s1_frontal.png", folder.root / "linked.png")
    os.symlink(folder.root / "images/p1", folder.root / "p")
    folder.write([row(1, split="train"), row(2, split="test", image_path=again)], images=False)
    with pytest.raises(DataError, match=r"line 4: study s2: image .* stands already in .* line 2: study s1; an image"):
        folder.table()


def test_a_patient_in_two_splits_is_refused(folder):
    assert refusal(folder, [row(1, "p7", split="train"), row(2, "p7", split="test")]) == (
        "ROOT/studies.csv line 4: study s2: its patient is in split test here and in train in line 2; "
        "all studies of a patient must be in one split"
    )


@pytest.mark.parametrize("word", ["eval", ""])
def test_an_unknown_split_is_refused(folder, word):
    assert refusal(folder, [row(1, split="train"), row(2, split=word)]) == (
        f"ROOT/studies.csv line 4: study s2: split {word!r} is none of train (or training), "
        "validate (or validation, valid, val, dev), test (or testing)"
    )


def test_a_bad_label_code_is_refused(folder):
    assert refusal(folder, [row(1) | NO_LABEL, row(2) | NO_LABEL | {"Lung Lesion": "yes"}]) == (
        "ROOT/studies.csv line 4: study s2: Lung Lesion: label code 'yes' is none of 1 (positive), 0 (negative), "
        "-1 (uncertain), blank (unmentioned)"
    )


def test_label_columns_come_all_or_not_at_all_and_are_spelt_right(folder):
    some = {name: "1" for name in LABELS if name not in ("Fracture", "Edema")}
    assert refusal(folder, [row(1) | some]) == (
        "ROOT/studies.csv lacks the label columns Edema, Fracture; give all 14, or none to have the reports labelled"
    )
    lower = {name.lower().replace(" ", "_"): "1" if name == "Fracture" else "" for name in LABELS}
    assert (
        studies(folder.write([row(1) | lower]).table(), Split.TRAIN)[0].labels[Observation.FRACTURE]
        is LabelState.POSITIVE
    )


@pytest.mark.parametrize("name", ["Split", "SPLIT", " split ", "split_"])
def test_an_optional_column_counts_however_it_is_spelt(folder, name):
    table = folder.write([row(1) | {name: "test"}, row(2) | {name: "train"}]).table(test_fraction=0.0)
    assert [study.study_id for study in studies(table, Split.TEST)] == ["s1"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("splits", "column 'splits' is near 'split' and would be passed over"),
        ("official_split", "column 'official_split' is near 'split'"),
        ("spilt", "column 'spilt' is near 'split'"),
        (
            "fold",
            "column 'fold' holds 'test', 'train', but there is no column 'split'; name it so, or set columns=",
        ),
        ("Tecnique", "column 'Tecnique' is near 'technique'"),
        ("study date2", "column 'study date2' is near 'study_date'"),
    ],
)
def test_a_column_that_would_go_unnoticed_is_refused(folder, name, message):
    assert message in refusal(folder, [row(1) | {name: "test"}, row(2) | {name: "train"}])


def test_two_spellings_of_one_column_are_refused(folder):
    message = refusal(folder, [row(1) | {"Split": "test", "SPLIT": "train"}])
    assert "columns 'Split', 'SPLIT' are both split" in message


@pytest.mark.parametrize(
    "report", ["N/A", "-", ".", "___", "na", "None", "null", "Not applicable", "See impression.", "FINDINGS:"]
)
def test_a_placeholder_is_no_report(folder, report):
    message = refusal(folder, [row(1), row(2, report=report)])
    assert "line 4: study s2: report is " in message
    assert message.endswith("; every row needs one")


def test_spellings_of_one_number_are_one_patient_and_one_study(folder):
    rows = [row(1, "7", split="train"), row(2, "7.0", split="test")]
    assert "its patient is in split test here and in train in line 2" in refusal(folder, rows)
    rows = [row(1, "7"), row(2, "007"), row(3, "8")]
    assert [study.patient_id for study in all_studies(folder.write(rows).table())] == ["7", "7", "8"]
    rows = [row(1, study_id="5"), row(1, study_id="5.0", image_path="images/other.png", view="AP")]
    assert [study.views for study in all_studies(folder.write(rows).table())] == [("PA", "AP")]


@pytest.mark.parametrize(
    ("view", "name"),
    [("nan", ""), ("AP_SUPINE", "AP SUPINE"), ("pa-erect", "PA ERECT"), ("POSTERO_ANTERIOR", "PA"), ("N/A", "")],
)
def test_views_that_other_programs_write_are_read(folder, view, name):
    assert [study.views for study in all_studies(folder.write([row(1, view=view)]).table())] == [(name,)]


def test_context_comes_from_columns(folder):
    told = {"indication": "Cough, XXXX.", "Comparison": "___", "technique": "N/A", "age": "63.0", "Sex": "female"}
    study = studies(folder.write([row(1) | told]).table(), Split.TRAIN)[0]
    assert study.context == Context(indication="Cough.", age_years=63, sex="F")
    assert refusal(folder, [row(1) | {"age": "old"}]).endswith(
        "study s1: age is 'old'; it must be a number of years, or blank"
    )
    assert "study_date is no day" in refusal(folder, [row(1) | {"study_date": "May"}]).replace(
        "date 'May' is", "study_date is"
    )


def test_the_prior_is_the_latest_earlier_study_of_patient_and_split(folder):
    days = {1: "2180-05-06", 2: "21800401", 3: "2180-04-01", 4: "", 5: "2180-06-01"}
    rows = [row(n, "p9", study_date=day) for n, day in days.items()] + [row(6, "p1", study_date="2179-01-01")]
    rows[4]["patient_id"] = "p9"
    table = folder.write(rows).table(prior=True)
    priors = {study.study_id: study.context.prior for study in all_studies(table)}
    assert (priors["s1"].study_id, priors["s1"].days_before) == ("s2", 35)
    assert (priors["s5"].study_id, priors["s5"].days_before) == ("s1", 26)
    assert priors["s5"].report.startswith("Heart size is normal, study 1.")
    assert priors["s5"].image_paths == (str(folder.root / "images/p9/s1_frontal.png"),)
    assert [priors[name] for name in ("s2", "s3", "s4", "s6")] == [None] * 4
    assert {study.context.prior for study in all_studies(folder.table())} == {None}


def test_the_order_of_studies_may_be_given_without_dates(folder):
    rows = [row(n, "p9", study_order=order) for n, order in ((1, "2"), (2, "10"), (3, "1"))]
    table = folder.write(rows).table(prior=True)
    priors = {study.study_id: study.context.prior for study in all_studies(table)}
    assert (priors["s2"].study_id, priors["s1"].study_id, priors["s3"]) == ("s1", "s3", None)
    assert priors["s2"].days_before is None


def test_a_patients_studies_are_ordered_by_one_kind_and_no_prior_is_of_a_later_day(folder):
    mixed = [("2180-01-01", "9000000"), ("2180-02-01", ""), ("2180-03-01", "2")]
    table = folder.write([row(n, "p9", study_date=d, study_order=o) for n, (d, o) in enumerate(mixed)]).table(
        prior=True
    )
    priors = [study.context.prior for study in all_studies(table)]
    assert [prior and (prior.study_id, prior.days_before) for prior in priors] == [None, ("s0", 31), ("s1", 29)]
    against = [("2180-02-01", "1"), ("2180-01-01", "2")]
    table = folder.write([row(n, "p9", study_date=d, study_order=o) for n, (d, o) in enumerate(against)])
    assert [study.context.prior for study in all_studies(table.table(prior=True))] == [None, None]


def test_labels_are_of_the_study_of_that_name_before_one_with_another_s(folder):
    folder.write([row(1, study_id="s7"), row(2, study_id="7"), row(3, study_id="8")])
    labels = [NO_LABEL | {"study_id": name, "Edema": code} for name, code in (("7", "1"), ("s7", "0"), ("s8", "1"))]
    write_labels(folder.root / "labels.csv", labels)
    table = folder.table(labels="table", label_table=str(folder.root / "labels.csv"))
    found = [study.labels[Observation.EDEMA] for study in all_studies(table)]
    assert found == [LabelState.NEGATIVE, LabelState.POSITIVE, LabelState.POSITIVE]
    write_labels(folder.root / "labels.csv", labels[:1])
    table = folder.table(labels="table", label_table=str(folder.root / "labels.csv"))
    assert [study.study_id for study in all_studies(table)] == ["7"]


def test_words_of_a_shifted_row_and_a_path_that_is_too_long_are_told_in_one_line(folder):
    shifted = row(1, split="train") | {"study_id": "Mild edema of both lungs", "report": ""}
    assert refusal(folder, [shifted]) == (
        "ROOT/studies.csv line 2: study (24 characters of text): report is ''; every row needs one"
    )
    folder.write([row(1, image_path=f"{'a' * 300}.png")], images=False)
    with pytest.raises(DataError, match="1 of 1 image files are not under"):
        folder.table()


def test_a_gzipped_table_is_read_whatever_its_name(folder):
    folder.write([row(1)])
    folder.csv.write_bytes(gzip.compress(folder.csv.read_bytes()))
    assert len(all_studies(folder.table())) == 1


def test_all_missing_images_are_counted_at_once(folder):
    folder.write([row(number) for number in range(6)])
    for number in (1, 2, 4, 5):
        (folder.root / row(number)["image_path"]).unlink()
    with pytest.raises(DataError) as caught:
        folder.table()
    assert str(caught.value).replace(str(folder.root), "ROOT") == (
        "ROOT/studies.csv: 4 of 6 image files are not under ROOT: line 4, study s1: s1_frontal.png; "
        "line 6, study s2: s2_frontal.png; line 10, study s4: s4_frontal.png; ..."
    )


def test_other_kinds_of_images_are_refused_before_anything_is_opened(folder):
    folder.write([row(1)])
    folder.write([row(1), row(2, image_path="images/p2/s2.tif")], images=False)
    with pytest.raises(DataError, match=r"study s2 \(.*studies.csv line 4\): image s2.tif ends in .* PNG"):
        folder.table()


def test_no_study_left_is_refused(folder):
    assert refusal(folder, [row(1, view="L"), row(2, view="LL")]) == (
        "ROOT/studies.csv: no study is left with views=frontal (images left out by view: L: 1, LL: 1); "
        "PA, AP, FRONTAL and blank count as frontal; views=all keeps every image"
    )


def test_too_few_patients_for_the_parts_are_refused(folder):
    message = refusal(folder, [row(1, "p1"), row(2, "p1")], test_fraction=0.2)
    assert message.startswith("1 patient(s) can't be split into 2 parts")


def test_bad_settings_are_refused(folder):
    folder.write([row(1)])
    with pytest.raises(SettingError, match="views is 'PA'; it must be one of frontal, all"):
        folder.table(views="PA")
    with pytest.raises(SettingError, match=r"test_fraction is 2; it must be a number, at least 0 and at most 1"):
        folder.table(test_fraction=2)
    with pytest.raises(SettingError, match=r"longest_side is 0"):
        folder.table(longest_side=0)
    with pytest.raises(DataError, match=r"root .*/nowhere is not a folder"):
        StudyTable(str(folder.csv), str(folder.root / "nowhere")).open()
    with pytest.raises(DataError, match=r"there is no table .*none\.csv"):
        StudyTable(str(folder.root / "none.csv"), str(folder.root)).open()
