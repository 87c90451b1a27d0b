"""What others wrote: it becomes data within bounds, or one line that names the file and none of its words."""

import gzip
import json
import os
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from omegaconf import OmegaConf
from PIL import Image
from pyarrow import parquet
from tests.unit.data import mimic_cxr_folder

from orapo import foreign
from orapo.__main__ import main
from orapo.comparison.run_folder import read_run
from orapo.comparison.run_state import RunState
from orapo.data.annotation import Annotation
from orapo.data.iu_xray import IuXray
from orapo.data.json_studies import RexGradient, RexRank
from orapo.data.mimic_cxr import MimicCxr
from orapo.data.own_images import find_own_images
from orapo.data.questions import Questions
from orapo.data.ranking import read_ranking
from orapo.data.source import StudySource
from orapo.data.study_table import StudyTable
from orapo.data.subset_manifest import SubsetManifest
from orapo.data.tables import read_columns, read_csv
from orapo.data.text_files import LONGEST_TEXT, TextFiles
from orapo.errors import DataError, OrapoError, SettingError
from orapo.experiment.command_line import compose_config
from orapo.experiment.config import read_experiment
from orapo.experiment.config_keys import check_values, refuse_keys_within
from orapo.experiment.finished_run import read_saved
from orapo.experiment.judge_tasks import read_labels, read_report
from orapo.experiment.written_reports import ReportFile, ScoreFile
from orapo.foreign import MOST_DEPTH, parse_json, parse_yaml, read_bytes, read_json, read_text, read_yaml
from orapo.json_lines import read_json_lines
from orapo.labeler.tables.reports import BadRow, open_reports
from orapo.policy.checkpoints import adapter_config
from orapo.records import Split
from orapo.reward.llm.rubric import load_rubric
from orapo.training.checkpoint_files import check

SECRET = "Unmistakable feathers in the left hemithorax"
DEEP = 100_000
ALIASES = "a: &a [x]\n" + "".join(f"b{n}: &b{n} [*{'a' if n == 0 else f'b{n - 1}'}, 1]\n" for n in range(60))

# ---- JSON and YAML


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        (f'{{"report": "{SECRET}"', "not JSON"),
        ("[" * DEEP, "more than 64 lists and mappings within one another"),
        ('{"a":' * DEEP, "more than 64"),
        ("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), "more than 64"),
        ("1" * 19, "a whole number of more than 18 digits"),
        (f'{{"{SECRET}": 1{"0" * 5000}}}', "more than 18 digits"),
        (f'{{"{SECRET}": 1, "{SECRET}": 2}}', "a key stands twice"),
        (f'["{SECRET} \\ud800"]', "half of a surrogate pair"),
        (f'{{"{SECRET} \\ud800": 1}}', "half of a surrogate pair"),
        (b"\xff\xfe", "not UTF-8"),
        (b"\x00", "not JSON"),
    ],
)
def test_json_out_of_bounds(text: str | bytes, told: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_json(text, "x.json")
    assert str(caught.value).startswith("x.json")
    assert told in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_within_bounds() -> None:
    text = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert json.dumps(parse_json(text, "x")) == text
    assert parse_json(b'\xef\xbb\xbf{"a": -123456789012345678, "b": "\\ud83d\\ude00"}', "x") == {
        "a": -123456789012345678,
        "b": "😀",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "not YAML"),
        ("[" * DEEP, "more than 64"),
        ("- " * DEEP, "more than 64"),
        (ALIASES, "aliases"),
        (f"a: [{'[],' * 2_000_000}]", "more than 100,000 values"),
        ("a: 1\na: 2", "a key stands twice"),
        ("a: 1" + "0" * 30, "more than 18 digits"),
        (f"a: !!python/object/apply:os.system [echo {SECRET}]", "not YAML"),
        ("a: 2026-99-99", "not YAML"),
        ("\x00", "not YAML"),
        ("a: \x1b[2J", "not YAML"),
    ],
)
def test_yaml_out_of_bounds(text: str, told: str) -> None:
    began = time.process_time()
    with pytest.raises(DataError) as caught:
        parse_yaml(text, "x.yaml")
    assert told in str(caught.value)
    assert SECRET not in str(caught.value)
    assert time.process_time() - began < 2


def _questions(path: Path) -> object:
    return Questions(str(path), None).open()


def _rows_to_label(path: Path) -> list[object]:
    with open_reports(path, report_column="report", id_column=None) as table:
        return list(table.rows())


def test_a_file_larger_than_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 101)
    assert read_bytes(path, 101) == b"x" * 101
    with pytest.raises(DataError, match="more than 100 bytes"):
        read_bytes(path, 100)
    os.truncate(path, 10**12)  # more than any memory holds
    with pytest.raises(DataError, match="more than 100,000,000 bytes"):
        read_bytes(path)


@pytest.mark.parametrize("read", [read_csv, _rows_to_label])
@pytest.mark.parametrize("end", ["a" * 4096, '"\n",' * 1024, '"' + "a,b\n" * 1024, "\0" * 4096])
def test_a_row_without_an_end_does_not_fill_the_memory(
    read: Callable[[Path], object], end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "LONGEST_RECORD", 100_000)
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"study_id,report\n1," + end.encode() * 8000, 1))
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        read(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert "line 2" in str(caught.value)
    assert most < 8_000_000


@pytest.mark.parametrize("read", [lambda path: read_columns(path, ("study_id", "report")), _rows_to_label, _questions])
def test_parquet_of_text_that_is_none(read: Callable[[Path], object], tmp_path: Path) -> None:
    path, letters = tmp_path / "table.parquet", pa.py_buffer(b"\xff\xfe")
    no_text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), letters])
    parquet.write_table(pa.table({"study_id": ["1"], "report": no_text, "question": no_text}), path)
    if read is _rows_to_label:
        assert [type(row) for row in _rows_to_label(path)] == [BadRow]
    else:
        with pytest.raises(DataError, match=r"table\.parquet holds text that is not UTF-8"):
            read(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"report", b"\xff\xff\xff\xff\xff\xff"))
    with pytest.raises(DataError, match=r"table\.parquet"):
        read(path)


@pytest.mark.parametrize(
    "cell", [pa.array([2**62], pa.timestamp("us")), pa.array([b"1"]), pa.array([["1"]]), pa.array([{"a": 1}])]
)
def test_parquet_of_what_is_no_cell(cell: pa.Array, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    parquet.write_table(pa.table({"study_id": cell, "report": ["Clear."]}), path)
    with pytest.raises(DataError, match=r"table\.parquet(: column study_id)? holds "):
        read_columns(path, ("study_id", "report"))


def test_a_text_that_stands_twice_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "reports.zip", "w") as archive:
        archive.writestr("a/s1.txt", "Clear.")
        archive.writestr("b/s1.txt", "Edema.")
    with pytest.raises(DataError, match=r"reports\.zip holds s1\.txt twice"):
        TextFiles(tmp_path / "reports.zip", "somewhere").read("s1.txt", study_id="s1")


def test_a_table_of_too_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orapo.data.tables.MOST_ROWS", 3)
    path = tmp_path / "table.csv"
    path.write_text("a\n1\n2\n3\n")
    assert len(read_csv(path).rows) == 3
    path.write_text("a\n1\n2\n3\n4\n")
    with pytest.raises(DataError, match="more than 3 rows"):
        read_csv(path)
    parquet.write_table(pa.table({"a": [1, 2, 3, 4]}), tmp_path / "table.parquet")
    with pytest.raises(DataError, match="more than 3 rows"):
        read_columns(tmp_path / "table.parquet", ("a",))


def test_a_text_of_a_zip_that_becomes_too_much(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "reports.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("s1.txt", b"a" * (LONGEST_TEXT + 1))
        archive.writestr("s2.txt", b"a" * LONGEST_TEXT)
    files = TextFiles(tmp_path / "reports.zip", "somewhere")
    with pytest.raises(DataError, match=r"^study s1: report s1\.txt in .* has more than 10,000,000 bytes$"):
        files.read("s1.txt", study_id="s1")
    assert len(files.read("s2.txt", study_id="s2")) == LONGEST_TEXT


# ---- what is no regular file


@pytest.mark.parametrize(
    "read",
    [
        read_text,
        read_json,
        read_yaml,
        lambda path: list(read_json_lines(path)),
        read_csv,
        lambda path: read_columns(path, ["study_id"]),
        read_ranking,
        SubsetManifest.read,
        ReportFile,
        ScoreFile,
        lambda path: read_report(str(path)),
        lambda path: read_labels(str(path)),
        read_saved,
        lambda path: load_rubric(str(path)),
        lambda path: open_reports(path, report_column="report", id_column=None).__enter__(),
        check,
        lambda path: TextFiles(path.parent, "").read(path.name, study_id="s"),
    ],
)
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".csv.gz", ".parquet"])
def test_a_pipe_is_refused_at_once(read: Callable[[Path], Any], ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"pipe{ending}"
    os.mkfifo(path)
    with pytest.raises(OrapoError) as caught:
        read(path)
    assert (
        "is no regular file" in str(caught.value)
        or "must end in" in str(caught.value)
        or " ends in " in str(caught.value)
    )


def test_a_pipe_among_images_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1")
    (tmp_path / "a.png").write_bytes(b"")
    assert len(find_own_images([str(tmp_path)], "image").studies) == 1


def test_a_device_and_a_path_with_a_nul(tmp_path: Path) -> None:
    for path in ("/dev/zero", "/dev/stdin" if os.path.exists("/dev/tty") else "/dev/null"):
        with pytest.raises(DataError):
            read_text(path)
    with pytest.raises(DataError, match="can't be read"):
        read_text("a\0b")


# ---- reports, run records, tables


@pytest.mark.parametrize(
    "content", ['{"study_id": "s1", "report": "\\ud800"}', "[" * DEEP, '{"a":' * DEEP, "5", '{"study_id": 1e400}']
)
def test_reports_that_are_none(content: str, tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=r"reports\.jsonl"):
        ReportFile(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", "[" * DEEP),
        ("summary.json", '{"trained": {"clinical": {"macro": {"f1": 1' + "0" * 400 + "}}}}"),
        ("summary.json", '{"trained": [], "counts": []}'),
        ("run_state.json", '{"state": "running"}'),
        ("run_state.json", "[" * DEEP),
        ("config.yaml", "[" * DEEP),
        ("config.yaml", ALIASES),
        ("config.yaml", "seed: 1" + "0" * 400),
        ("config.yaml", "- 1"),
        ("metrics.csv", "step,reward,zero_reward_rate,mixing_weight\ninf,1,1,1\n"),
        ("metrics.csv", "step,reward,zero_reward_rate,mixing_weight\n\x00,1,1,1\n"),
        ("metrics.csv", "step,reward\n1,1\n"),
    ],
)
def test_a_damaged_run_is_marked_and_stops_nobody(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    run = read_run(tmp_path)
    assert run.state is RunState.DAMAGED
    assert name in run.reason
    assert run.reason.isprintable()


RECORD = {
    "state": "running", "overrides": ["seed=1"], "reason": "", "host": "h", "process_id": 12, "process_start": None,
    "since": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"process_id": "12"},
        {"process_id": 10**12},
        {"process_id": -1},
        {"state": "dancing"},
        {"overrides": "seed=1"},
        {"overrides": [1]},
        {"reason": ["x"]},
        {"more": 1},
    ],
)
def test_a_record_of_wrong_types(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run_state.json").write_text(json.dumps(RECORD))
    assert read_run(tmp_path).overrides == ("seed=1",)
    (tmp_path / "run_state.json").write_text(json.dumps(RECORD | change))
    assert read_run(tmp_path).state is RunState.DAMAGED


def test_escapes_of_a_record_do_not_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "run_state.json").write_text(json.dumps(RECORD | {"state": "\x1b[2J\x1b]0;owned\x07"}))
    assert read_run(tmp_path).reason.isprintable()


def test_counts_of_another_kind_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"trained": {"clinical": {"macro": {"f1": 0.5}}}, "counts": []}')
    assert read_run(tmp_path).scores["macro_f1"] == 0.5
    (tmp_path / "config.yaml").write_text("seed: [1]\n")
    assert read_run(tmp_path).seed is None


HEAD = "study_id,patient_id,image_path,view,report\n"
ROW = f's1,p1003217,images/1.png,PA,"{SECRET}."\n'


@pytest.mark.parametrize(
    "content", [ROW * 3, ROW.replace("PA", "p1003217") * 3, f"patient_id,p1003217,{SECRET}\n{ROW}"]
)
def test_a_table_without_a_header_is_told_without_its_words(content: str, tmp_path: Path) -> None:
    (tmp_path / "studies.csv").write_text(content)
    readers: list[Callable[[], Any]] = [
        lambda: StudyTable(str(tmp_path / "studies.csv"), str(tmp_path)).open(),
        lambda: read_columns(tmp_path / "studies.csv", ["study_id", "report"]),
        lambda: ReportFile(tmp_path / "studies.csv"),
        lambda: ScoreFile(tmp_path / "studies.csv"),
        lambda: read_ranking(tmp_path / "studies.csv"),
        lambda: open_reports(tmp_path / "studies.csv", report_column="report", id_column=None).__enter__(),
        lambda: read_labels(str(tmp_path / "studies.csv")),
        lambda: Questions(str(tmp_path / "studies.csv")).open(),
    ]
    for read in readers:
        with pytest.raises(DataError) as caught:
            read()
        assert SECRET not in str(caught.value)
        assert "1003217" not in str(caught.value)


@pytest.mark.parametrize("study_id", ["=1+1", "@SUM(A1)", "+cmd", "-2+3", "a\x1b[2Jb", "a\u202eb"])
def test_an_id_that_is_no_plain_text_is_refused(study_id: str, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "studies.csv").write_text(f"{HEAD}{study_id},p1,1.png,PA,No effusion.\n")
    with pytest.raises(DataError) as caught:
        StudyTable(str(tmp_path / "studies.csv"), str(tmp_path), test_fraction=0.0, validate_fraction=0.0).open()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("image", ["../1.png", "a/../../1.png", "/etc/1.png"])
def test_an_image_outside_of_the_root(image: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "studies.csv").write_text(f"{HEAD}s1,p1,{image},PA,No effusion.\n")
    with pytest.raises(DataError, match="is outside of root"):
        StudyTable(
            str(tmp_path / "studies.csv"), str(tmp_path / "root"), test_fraction=0.0, validate_fraction=0.0
        ).open()


def _annotation(folder: Path, image: str) -> StudySource:
    samples = {
        split: [{"id": split, "report": "No effusion.", "image_path": [image if split == "test" else f"{split}.png"]}]
        for split in ("train", "val", "test")
    }
    (folder / "annotation.json").write_text(json.dumps(samples))
    return Annotation(str(folder / "annotation.json"), str(folder / "root")).open()


def _rexrank(folder: Path, image: str) -> StudySource:
    study = {"image_path": [image], "section_findings": "No effusion.", "split": "test"}
    (folder / "studies.json").write_text(json.dumps({"test": study}))
    return RexRank(str(folder / "studies.json"), str(folder / "root")).open()


def _rexgradient(folder: Path, image: str) -> StudySource:
    (folder / "root" / "deid_png").mkdir()
    for part in ("train", "valid", "test"):
        study = {"ImagePath": [image], "Findings": "No effusion.", "PatientID": part}
        table = folder / "root" / f"{part}_metadata_view_position.json"
        table.write_text(json.dumps({part: study if part == "test" else {**study, "ImagePath": [f"{part}.png"]}}))
    return RexGradient(str(folder / "root")).open()


def _iu_xray_tables(folder: Path, image: str) -> StudySource:
    images = folder / "root" / "images"
    images.mkdir()
    (folder / "root" / "indiana_reports.csv").write_text("uid,findings,impression\n1,No effusion.,\n")
    file = image if os.path.isabs(image) else f"../{image}"
    (folder / "root" / "indiana_projections.csv").write_text(f"uid,filename,projection\n1,{file},Frontal\n")
    return IuXray(str(folder / "root"), validate_fraction=0.0, test_fraction=1.0).open()


def _iu_xray_xml(folder: Path, image: str) -> StudySource:
    reports = folder / "root" / "ecgen-radiology"
    reports.mkdir()
    (reports / "1.xml").write_text(
        '<eCitation><AbstractText Label="FINDINGS">No effusion.</AbstractText>'
        f'<parentImage id="{image.removesuffix(".png")}"/></eCitation>'
    )
    return IuXray(str(folder / "root"), validate_fraction=0.0, test_fraction=1.0).open()


def _mimic_cxr(folder: Path, image: str) -> StudySource:
    rows = [mimic_cxr_folder.image(number, 1, split=split) for number, split in ((1, "train"), (2, "test"))]
    made = mimic_cxr_folder.Mimic(folder / "root", rows).write()
    file = image.removesuffix(".png")
    rows[1]["dicom_id"] = file if os.path.isabs(image) else f"../../../../{file}"
    made.write(leave=["images"])
    return MimicCxr(str(folder / "root")).open()


@pytest.mark.parametrize("image", ["../../1.png", "a/../../../1.png", "{folder}/1.png"])
@pytest.mark.parametrize("opened", [_annotation, _rexrank, _rexgradient, _iu_xray_tables, _iu_xray_xml, _mimic_cxr])
def test_an_image_outside_of_the_root_of_a_published_set(
    opened: Callable[[Path, str], StudySource], image: str, tmp_path: Path
) -> None:
    """It is there, and would be opened."""
    folder = tmp_path / "a"
    (folder / "root").mkdir(parents=True)
    for place in (tmp_path, folder):
        Image.new("L", (40, 30)).save(place / "1.png")
    source = opened(folder, image.format(folder=folder))
    (study,) = source.entries(Split.TEST)
    with pytest.raises(DataError, match="is outside of root"):
        source.read(study.study_id)


def test_a_link_out_of_the_root_is_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    Image.new("L", (40, 30)).save(tmp_path / "1.png")
    (tmp_path / "root" / "1.png").symlink_to(tmp_path / "1.png")
    for opened in (_annotation, _rexrank):
        assert opened(tmp_path, "1.png").read("test").image_paths == (f"{tmp_path}/root/1.png",)


# ---- folders of models


@pytest.mark.parametrize("content", ["[" * DEEP, "[]", "", "\x00", '{"base_model_name_or_path": 1' + "0" * 99 + "}"])
def test_an_adapter_config_that_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(OrapoError, match=r"adapter_config\.json"):
        adapter_config(str(tmp_path))


# ---- command lines


@pytest.mark.parametrize("argument", ["data=0", "model=1.5", "reward=true", "+experiment=1e9", "data=[]", "model=[]"])
def test_a_number_or_a_list_is_no_choice_of_a_group(argument: str) -> None:
    with pytest.raises(SettingError, match="is no choice; allowed: "):
        compose_config([argument])


@pytest.mark.parametrize("content", ["0", "1e9", "true", "[]", "- a"])
def test_a_config_that_is_no_mapping(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(OrapoError, match=r"config\.yaml"):
        read_saved(tmp_path / "config.yaml")


def test_a_setting_that_refers_to_a_key_that_is_gone_is_named() -> None:
    config = compose_config([])
    OmegaConf.set_struct(config, False)
    del config.data.max_report_tokens
    with pytest.raises(SettingError, match=r"^rollout\.max_new_tokens: .*'data\.max_report_tokens' not found$"):
        read_experiment(config)


def test_a_section_that_is_given_what_it_has_not_is_named() -> None:
    with pytest.raises(SettingError, match=r"^data is a section; set its keys one by one, as data\.\w+=VALUE$"):
        compose_config(["data={a:1}"])


KEY = "sk-canary-0011223344556677"


@pytest.mark.parametrize(
    "argument",
    [
        f"reward.api_key_variable={KEY}",
        "reward.api_key_variable=0badc0de0badc0de0badc0de",
        "system.api_key_variable=AKIAIOSFODNN7EXAMPLE",
        f"reward.api_key_variable=A_KEY,{KEY}",
        "+reward.api_key=anything",
        "+system.password=anything",
        f"reward.model={KEY}",
        f"+note='{KEY}'",
        "model.path=hf_abcdefGHIJKL0123456789",
        "+x=prefix-of-the-value-in-use-1234",
        f"reward.api_base=http://user:{KEY}@host:8000/v1",
        "reward.api_base=http://user:plain@host:8000/v1",
        "rollout.server.api_base=http://host/v1?key=plain",
        f"reward.fallback_models=[{{model: openai/x, api_key: {KEY}}}]",
        "logger.wandb={api_key: plain, project: x}",
        "+reward.headers='Authorization: Bearer plainplain'",
        f"model.path=https://huggingface.co/{KEY}/x",
        f"run_name=judge-{KEY}",
        "reward.api_key_variable=hf_abcdefGHIJKL0123456789",
        "+note=${oc.env:OPENAI_API_KEY}",
        "hydra.job.env_set={SOME_API_KEY: the-value-in-use-1234}",
    ],
)
def test_a_key_on_the_command_line_is_refused_unread(argument: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "the-value-in-use-1234")
    with pytest.raises(SettingError, match="keys stand in environment variables only") as caught:
        check_values(["seed=1", argument])
    value = argument.partition("=")[2]
    assert value not in str(caught.value)
    assert argument.partition("=")[0] in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", KEY],
        ["train", f"+{KEY}=1"],
        ["compare", f"runs/{KEY}"],
        ["data", "check", "hf_dataset", "--path", f"https://user:{KEY}@host/x"],
        ["judge", "report", "--report", "x.txt", f"--api-key={KEY}"],
    ],
)
def test_no_command_repeats_a_key(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    told = capsys.readouterr()
    assert "keys stand in environment variables only" in told.err
    assert KEY not in told.out + told.err


def test_a_key_in_a_config_is_refused() -> None:
    with pytest.raises(SettingError, match=r"^reward\.models\.0\.api_key holds a key or password"):
        refuse_keys_within(OmegaConf.create({"seed": 1, "reward": {"models": [{"api_key": "plain"}]}}))


@pytest.mark.parametrize(
    "argument",
    [
        "reward.api_key_variable=OPENAI_API_KEY",
        "reward.api_key_variable=null",
        "run_name=sk-learn-like-names",
        "run_name=hf_dataset_of_2024_with_reports",
        "data.path=hf://datasets/name@main",
        "data.root=/data/pk_2024_chest_reports/task-0123456789abcdef0123",
        "data.root=${oc.env:ORAPO_MIMIC_ROOT}",
        "prompt.instruction='Say token, key and secret: none.'",
        "+tokens=3",
    ],
)
def test_what_is_no_key_passes(argument: str) -> None:
    check_values([argument])
