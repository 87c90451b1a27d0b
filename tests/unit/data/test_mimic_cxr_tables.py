import pytest
from tests.unit.data.mimic_cxr_folder import LABELS, METADATA, Mimic, image, write_table

from orapo.chexpert import LabelState, Observation
from orapo.data.labels import SharedStates, read_label_table
from orapo.data.mimic_cxr import METADATA as IMAGES
from orapo.data.mimic_cxr import SPLIT, MimicCxr, MimicReader, _time
from orapo.errors import DataError
from orapo.records import Split


def studies(folder, rows, split_rows=None):
    mimic = Mimic(folder, rows).write(leave=("images", "reports"), gz=False)
    split = mimic.root / "mimic-cxr-2.0.0-split.csv"
    if split_rows is not None:
        write_table(split, ("dicom_id", "study_id", "subject_id", "split"), split_rows)
    return read_studies(mimic.root / "mimic-cxr-2.0.0-metadata.csv", split)


def read_studies(metadata, split):
    reader = MimicReader(MimicCxr(None))
    reader.files = {IMAGES: metadata, SPLIT: split}

    def refuse(problem):
        raise DataError(problem)

    return reader.rows(refuse)


def test_studies_come_in_the_order_of_the_table_with_their_splits(tmp_path):
    rows = [
        image(2, 1, split="validate"),
        image(1, 1, split="train"),
        image(3, 1, split="test"),
        image(2, 2, split="validate"),
    ]
    listed = studies(tmp_path, rows)
    assert [(s.study_id, s.patient_id, s.split, len(s.views)) for s in listed] == [
        ("s90000002", "p90000002", Split.VALIDATE, 2),
        ("s90000001", "p90000001", Split.TRAIN, 1),
        ("s90000003", "p90000003", Split.TEST, 1),
    ]


def test_images_are_ordered_by_frontal_time_and_id(tmp_path):
    rows = [
        image(1, 1, "LATERAL", "1"),
        image(1, 6, "AP", "235959.9"),
        image(1, 5, "AP", "93000.5"),
        image(1, 4, "PA", "93000.5"),
        image(1, 3, "AP", ""),
        image(1, 2, "ap axial", "100000"),
    ]
    (study,) = studies(tmp_path, rows)
    assert [int(dicom[-1]) for dicom in study.images] == [4, 5, 2, 6, 3, 1]
    assert study.views == ("PA", "AP", "AP AXIAL", "AP", "AP", "LATERAL")


@pytest.mark.parametrize(
    ("position", "meaning", "view"),
    [
        ("PA", "lateral", "PA"),
        ("", "postero-anterior", "PA"),
        ("", "antero-posterior", "AP"),
        ("", "left anterior oblique", "LEFT ANTERIOR OBLIQUE"),
        ("", "", ""),
    ],
)
def test_a_blank_view_is_read_from_the_view_code(tmp_path, position, meaning, view):
    assert studies(tmp_path, [image(1, 1, position, meaning=meaning)])[0].views == (view,)


def test_the_optional_columns_may_be_absent(tmp_path):
    metadata = tmp_path / "metadata.csv"
    rows = [image(1, 2, ""), image(1, 1, "AP")]
    Mimic(tmp_path, rows).write(leave=("images", "reports"))
    write_table(metadata, METADATA[:4], rows)
    (study,) = read_studies(metadata, tmp_path / "mimic-cxr-2.0.0-split.csv.gz")
    assert study.views == ("AP", "")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [image(1, 1), image(1, 2, split="test")],
            r"split\.csv line 3: an image of study s90000001 is of another patient, or split, than one above; all "
            r"images of a study must agree$",
        ),
        (
            [image(1, 1), image(2, 1, patient=1, split="validate")],
            r"split\.csv line 3: study s90000002 is in split validate, another of its patient in "
            r"train; a patient must be in one split only$",
        ),
        ([image(1, 1, split="fold")], r"split\.csv line 2: study s90000001: split 'fold' is none of train "),
        (
            [image(1, 1), image(1, 1)],
            r"metadata\.csv line 3: image 00000001-00000001 of study s90000001 is there twice$",
        ),
        ([image(1, 1, time="noon")], r"metadata\.csv line 2: StudyTime is 'noon'; it must be HHMMSS\.fff or blank$"),
        (
            [image(1, 1) | {"study_id": "s1"}],
            r"metadata\.csv line 2: dicom_id is blank, or study_id or subject_id is no",
        ),
        ([image(1, 1) | {"dicom_id": ""}], r"metadata\.csv line 2: dicom_id is blank, or"),
    ],
)
def test_contradictions_are_refused_with_their_line(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        studies(tmp_path, rows, rows)


def test_the_two_tables_must_fit_each_other(tmp_path):
    with pytest.raises(
        DataError, match=r"split\.csv has no row for study s90000002 of .*metadata\.csv; each needs one"
    ):
        studies(tmp_path, [image(1, 1), image(2, 1)], [image(1, 1)])
    with pytest.raises(DataError, match=r"split\.csv gives study s90000001 to another patient than the images do$"):
        studies(tmp_path, [image(1, 1)], [image(1, 1, patient=2)])
    with pytest.raises(DataError, match=r"metadata\.csv line 3: study s90000001 is of another patient than above$"):
        studies(tmp_path, [image(1, 1), image(1, 2, patient=2)], [image(1, 1)])


def read_labels(path):
    reader = MimicReader(MimicCxr(None))
    return read_label_table(path, reader.id_columns, SharedStates(), reader.label_key)[1]


def label_table(tmp_path, columns, rows):
    write_table(tmp_path / "labels.csv", columns, rows)
    return read_labels(tmp_path / "labels.csv")


def test_labels_are_read_by_name_and_shared(tmp_path):
    named = ["Airspace Opacity" if name == "Lung Opacity" else name for name in LABELS]
    rows = [
        {"study_id": "90000001", "Airspace Opacity": "1.0", "Edema": "-1"},
        {"study_id": "s90000002", "Airspace Opacity": "1", "Edema": "-1.0", "Fracture": ""},
        {"study_id": "90000003", "Edema": "0"},
    ]
    labels = label_table(tmp_path, ("Edema", "study_id", *(set(named) - {"Edema"})), rows)
    assert list(labels) == ["90000001", "90000002", "90000003"]
    first = labels["90000001"]
    assert first is labels["90000002"]
    assert first[Observation.LUNG_OPACITY] is LabelState.POSITIVE
    assert first[Observation.EDEMA] is LabelState.UNCERTAIN
    assert labels["90000003"][Observation.EDEMA] is LabelState.NEGATIVE


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        (("study_id", *LABELS[1:]), [{"study_id": "1"}], r"labels\.csv has no column Atelectasis; an id"),
        (
            ("study_id", *(set(LABELS) - {"Lung Opacity"})),
            [{"study_id": "1"}],
            r"has no column Lung Opacity; an id",
        ),
        (("study_id", *LABELS), [{"study_id": "1"}, {"study_id": "1.5"}], r"line 3: study_id is no id like s50414267"),
        (
            ("study_id", *LABELS),
            [{"study_id": "1", "Edema": "3"}],
            r"line 2: Edema: label code '3' is none of 1",
        ),
        (
            ("study_id", *LABELS),
            [{"study_id": "1"}, {"study_id": "s1", "Edema": "1"}],
            r"line 3: 's1' stands in an earlier row with other labels$",
        ),
    ],
)
def test_broken_label_tables_are_refused(tmp_path, columns, rows, message):
    with pytest.raises(DataError, match=message):
        label_table(tmp_path, columns, rows)


def test_a_parquet_that_is_none_is_refused(tmp_path):
    (tmp_path / "labels.parquet").write_bytes(b"hush")
    with pytest.raises(DataError, match=r"labels\.parquet can't be read as Parquet; is it complete\?$"):
        read_labels(tmp_path / "labels.parquet")


def test_a_time_that_is_not_known_is_blank():
    assert _time("nan") == _time("") > _time("235959.9")
