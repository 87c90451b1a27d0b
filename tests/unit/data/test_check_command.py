from pathlib import Path

import pytest
from PIL import Image

from orapo.data.__main__ import main
from orapo.data.miniature import write_miniature_annotation, write_miniature_chexpert_plus, write_miniature_mimic_cxr

HEADER = "study_id,patient_id,image_path,view,report,split\n"


@pytest.fixture(autouse=True)
def without_roots(monkeypatch):
    for name in ("ORAPO_CHEXPERT_PLUS_ROOT", "ORAPO_MIMIC_ROOT"):
        monkeypatch.delenv(name, raising=False)


def check(capsys, *arguments):
    code = main(["check", *map(str, arguments)])
    return code, capsys.readouterr().out


@pytest.fixture(scope="module")
def miniatures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("miniatures")
    write_miniature_chexpert_plus(folder / "plus", num_patients=20)
    write_miniature_mimic_cxr(folder / "mimic", num_patients=20)
    write_miniature_annotation(folder / "annotation", num_patients=20)
    return folder


def test_whole_data_sets_have_no_problem(capsys, miniatures, monkeypatch):
    monkeypatch.setenv("ORAPO_MIMIC_ROOT", str(miniatures / "mimic"))
    code, text = check(capsys, "mimic_cxr")
    assert (code, text.splitlines()[-1]) == (0, "no problem found")
    assert "reports with findings" in text
    for name in ("chexpert_plus", "gold"):
        code, text = check(capsys, name, "--root", miniatures / "plus")
        assert (code, text.splitlines()[-1]) == (0, "no problem found")
    folder = miniatures / "annotation"
    code, text = check(capsys, "annotation", "--annotation", folder / "annotation.json", "--root", folder)
    assert (code, text.splitlines()[-1]) == (0, "no problem found")


@pytest.mark.parametrize("name", ["rexgradient", "iu_xray", "rexrank", "study_table"])
def test_the_miniatures_of_the_others_have_no_problem(capsys, tmp_path, name):
    assert main(["miniature", name, str(tmp_path / "m"), "--num-patients", "10"]) == 0
    files = {"rexrank": ["--json", tmp_path / "m/studies.json"], "study_table": ["--csv", tmp_path / "m/studies.csv"]}
    code, text = check(capsys, name, "--root", tmp_path / "m", *files.get(name, []))
    assert (code, text.splitlines()[-1]) == (0, "no problem found")


def test_what_is_missing_is_listed_with_its_places(capsys, miniatures):
    code, text = check(capsys, "mimic_cxr", "--root", miniatures / "plus")
    assert code == 1
    problems = [line for line in text.splitlines() if line.startswith("  PROBLEM")]
    assert text.splitlines()[-1] == f"problems: {len(problems)}"
    assert any("mimic-cxr-2.0.0-split.csv.gz" in line and "physionet.org" in line for line in problems)
    assert any("mimic-cxr-reports.zip" in line for line in problems)
    code, text = check(capsys, "chexpert_plus")
    assert code == 1
    assert "ORAPO_CHEXPERT_PLUS_ROOT" in text


def test_every_problem_of_an_own_table_is_named(capsys, tmp_path):
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "t.csv").write_text(
        HEADER
        + "s1,p1,a.png,PA,Clear lungs.,train\n"
        + "s2,p1,gone.png,PA,Clear lungs.,test\n"
        + "s3,p3,broken.png,LATERAL,Clear lungs.,train\n"
        + "s4,p4,a.png,PA,,train\n"
        + "s5,p5,a.png,PA,Clear lungs.,someday\n"
    )
    code, text = check(capsys, "study_table", "--csv", tmp_path / "t.csv", "--root", tmp_path)
    assert code == 1
    expected = [
        "line 5: study s4: report is ''",
        "line 6: study s5: split 'someday' is none of",
        "line 3: study s2: its patient is in split test here and in train in line 2",
        "line 3: study s2: there is no image gone.png",
        "line 4: study s3: image broken.png ",
    ]
    for problem in expected:
        assert sum(problem in line for line in text.splitlines() if line.startswith("  PROBLEM")) == 1, problem
    assert text.splitlines()[-1] == "problems: 5"
    assert "1 studies have no frontal image" in text
    assert "Clear lungs" not in text


def test_a_sound_own_table_with_other_column_names(capsys, tmp_path):
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    for name in "bcd":
        Image.new("L", (40, 41)).save(tmp_path / f"{name}.png")
    rows = "".join(f"s{name},p{name},{name}.png,,Clear lungs.\n" for name in "abcd")
    (tmp_path / "t.csv").write_text(f"study_id,patient_id,image_path,view,impression\n{rows}")
    arguments = ("study_table", "--csv", tmp_path / "t.csv", "--root", tmp_path)
    code, text = check(capsys, *arguments, "--column", "report=impression")
    assert (code, text.splitlines()[-1]) == (0, "no problem found")
    assert "patients are split at random" in text
    code, text = check(capsys, *arguments)
    assert code == 1
    assert "has no column 'report'" in text
    code, text = check(capsys, *arguments, "--column", "text=impression")
    assert code == 1


def test_a_setting_out_of_range_is_one_line(capsys, tmp_path):
    assert main(["miniature", "mimic_cxr", str(tmp_path / "m"), "--num-patients", "1"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_questions_are_counted_and_their_images_looked_at(capsys, tmp_path):
    path = tmp_path / "questions.csv"
    path.write_text("id,question,answer,choices,images\na,7+1=?,8,,\nc,7+2=?,9,,\nb,Which side?,B,left|right,b.png\n")
    Image.new("L", (40, 40)).save(tmp_path / "b.png")
    code, text = check(capsys, "questions", "--path", path, "--root", tmp_path)
    counts = [" ".join(line.split()) for line in text.splitlines()[1:-1]]
    assert (code, text.splitlines()[-1]) == (0, "no problem found")
    assert {"images 1", "kind numeric 2", "kind choice 1", "group 8 1", "group B 1"} <= set(counts)
    assert sum(int(line.split()[-1]) for line in counts if "questions" in line) == 3
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:45])
    code, text = check(capsys, "questions", "--path", path, "--root", tmp_path)
    assert (code, text.splitlines()[-1]) == (1, "problems: 1")
    assert "study b: image" in text
    code, text = check(capsys, "questions", "--path", path)
    assert code == 1
    assert "questions.csv line 4: question b: it has images; set data.root" in text.replace("csv, line", "csv line")


def test_what_a_table_says_steers_no_terminal(capsys, tmp_path):
    rows = "".join(f"s{n},p{n},\x1b[2J.png,PA,Clear lungs.,train,x\n" for n in (1, 2))
    (tmp_path / "t.csv").write_text(f"{HEADER.strip()},\x1b]0;x\x07\n{rows}")
    _, text = check(capsys, "study_table", "--csv", tmp_path / "t.csv", "--root", tmp_path)
    assert "\x1b" not in text
    assert r"passed over: \x1b]0;x\x07" in text
    assert "study s2: there is no image (" in text
