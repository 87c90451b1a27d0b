import csv
import gzip
import json

import pyarrow as pa
import pytest
from pyarrow import parquet
from tests.unit.data.chexpert_folder import ChexpertFolder, label, row

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.chexpert_plus import ChexpertPlus, PlusReader, read_chexbert_labels
from orapo.data.labels import SharedStates, read_label_table
from orapo.data.source import LeftOut
from orapo.errors import DataError
from orapo.records import Split

PATHS = [f"train/patient{number:05}/study1/view1_frontal.jpg" for number in (1, 2, 3)]
NAMES = [observation.value for observation in OBSERVATIONS]


def read_labels(path):
    return read_label_table(
        path, PlusReader.id_columns, SharedStates(), lambda *cell: PlusReader.label_key(None, *cell)
    )


@pytest.fixture
def folder(tmp_path):
    return ChexpertFolder(tmp_path).write_table([row(path) for path in PATHS]).write_images(PATHS)


def positive(labels):
    return {observation for observation, state in labels.items() if state is LabelState.POSITIVE}


def test_codes_are_read_by_name_and_equal_states_are_one_mapping(folder, tmp_path):
    records = [
        label(PATHS[0], Edema=1.0, Fracture=-1),
        label(PATHS[1], Edema=1, Fracture=-1.0),
        label(PATHS[2], Edema=0.0),
    ]
    folder.write_labels(records, "a.json")
    labels = read_chexbert_labels(tmp_path / "a.json", SharedStates())
    assert list(labels) == [path[:-4] for path in PATHS]
    first, second, third = labels.values()
    assert first is second
    assert first == dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED) | {
        Observation.EDEMA: LabelState.POSITIVE,
        Observation.FRACTURE: LabelState.UNCERTAIN,
    }
    assert third[Observation.EDEMA] is LabelState.NEGATIVE


def test_nan_and_blank_lines_and_repeated_lines_are_ordinary(folder, tmp_path):
    record = label(PATHS[0], Edema=1.0)
    nan = json.dumps(record | {"Fracture": float("nan")})
    (tmp_path / "a.json").write_text(f"{nan}\n\n{json.dumps(record)}\n")
    labels = read_chexbert_labels(tmp_path / "a.json", SharedStates())
    assert labels[PATHS[0][:-4]][Observation.FRACTURE] is LabelState.UNMENTIONED


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", "line 2: not a JSON object; each line must be one"),
        ('[{"path_to_image": 1}]', "line 2: not a JSON object; each line must be one"),
        ('{"path_to_image":', "line 2: not JSON; is it complete"),
        (json.dumps({"path_to_image": PATHS[1]}), "line 2 has no key 'No Finding'"),
        (json.dumps(label("a.jpg")), "line 2: 'a.jpg' does not end like train/patient00001"),
        (json.dumps(label(PATHS[1], Edema=2.0)), "line 2: Edema: label code 2.0 is none of 1"),
        (json.dumps(label(PATHS[1], Edema="yes")), "line 2: Edema: label code 'yes' is none of 1"),
        (json.dumps(label(PATHS[1], Edema=[1.0])), "line 2: a path or label is neither text nor number"),
        (json.dumps(label(None)), "line 2: a path or label is neither text nor number"),
        (json.dumps(label(PATHS[0], Edema=1.0)), "stands in an earlier line with other labels"),
    ],
)
def test_a_broken_line_is_an_error_that_names_it(tmp_path, line, message):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(label(PATHS[0])) + "\n" + line + "\n")
    with pytest.raises(DataError) as error:
        read_chexbert_labels(path, SharedStates())
    assert str(error.value).startswith(f"{path}, line 2")
    assert message in str(error.value)


def test_an_empty_file_of_labels_is_an_error(tmp_path):
    (tmp_path / "a.json").write_text("\n")
    with pytest.raises(DataError, match="is empty; a JSON object is needed on each line"):
        read_chexbert_labels(tmp_path / "a.json", SharedStates())


def test_labels_of_other_studies_are_an_error(folder):
    folder.write_labels([label("train/patient00009/study1/view1_frontal.jpg")])
    with pytest.raises(
        DataError, match=r"has labels of no study of CheXpert Plus; it has 1 by path_to_image, for example train/"
    ):
        ChexpertPlus(str(folder.root), num_validate_patients=1).open()


def write_table(path, id_column, ids, codes):
    rows = [{id_column: key, **dict.fromkeys(NAMES, ""), "Edema": code} for key, code in zip(ids, codes, strict=True)]
    if path.suffix == ".parquet":
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        numbers = {name: pa.array([float(code) if code else None for code in columns[name]]) for name in NAMES}
        parquet.write_table(pa.table(columns | numbers), path)
        return
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("name", ["labels.csv", "labels.csv.gz", "labels.parquet"])
@pytest.mark.parametrize("id_column", ["study_id", "path_to_image"])
def test_a_table_of_the_labeler_gives_labels(folder, name, id_column):
    ids = PATHS[:2] if id_column == "path_to_image" else ["patient00001/study1", "patient00002/study1"]
    write_table(folder.root / name, id_column, ids, ["1", "-1"])
    source = ChexpertPlus(
        str(folder.root), num_validate_patients=1, labels="table", label_table=str(folder.root / name)
    ).open()
    states = {e.study_id: e.labels[Observation.EDEMA] for split in Split for e in source.entries(split)}
    assert states == {"patient00001/study1": LabelState.POSITIVE, "patient00002/study1": LabelState.UNCERTAIN}
    left_out = [study for split in Split for study in source.left_out(split)]
    assert left_out == [LeftOut("patient00003/study1", "no labels")]


def test_the_labeler_command_writes_such_a_table(folder, capsys):
    from orapo.labeler.command import main

    table = str(folder.root / "df_chexpert_plus_240401.csv")
    labels = folder.root / "labels.csv"
    assert main([table, str(labels), "--column", "section_findings", "--id", "path_to_image"]) == 0
    id_column, states = read_labels(labels)
    assert id_column == "path_to_image"
    assert list(states) == [path[:-4] for path in PATHS]
    assert positive(states[PATHS[0][:-4]]) == {Observation.EDEMA}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["row", *NAMES], ["1", *[""] * 14]], "has no column study_id or path_to_image; an id and the 14"),
        ([["study_id", *NAMES[1:]], ["1", *[""] * 13]], "has no column No Finding; an id"),
        ([["name", "text"], ["1", "2"]], "has no column study_id or path_to_image, No Finding, "),
        ([["study_id", *NAMES], ["a", *["2"] * 14]], "line 2: No Finding: label code '2'"),
        ([["path_to_image", *NAMES], ["a", *[""] * 14]], "line 2: 'a' does not end"),
        (
            [["study_id", *NAMES], ["a", *[""] * 14], ["a", *["1"] * 14]],
            "line 3: 'a' stands in an earlier row with other labels",
        ),
    ],
)
def test_a_broken_table_of_labels_is_refused(tmp_path, rows, message):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(DataError) as error:
        read_labels(tmp_path / "a.csv")
    assert message in str(error.value)


def test_a_broken_parquet_table_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="can't be read as Parquet"):
        read_labels(tmp_path / "a.parquet")
    parquet.write_table(pa.table({"study_id": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"has no column No Finding, .*; an id and the 14 observations are needed"):
        read_labels(tmp_path / "b.parquet")


def test_a_missing_table_of_labels_is_named_with_what_writes_it(folder):
    with pytest.raises(
        DataError, match=r"1 of 3 needed are missing: label_table \(looked for a.csv; get it from orapo label"
    ):
        ChexpertPlus(str(folder.root), num_validate_patients=1, labels="table", label_table="a.csv").open()
