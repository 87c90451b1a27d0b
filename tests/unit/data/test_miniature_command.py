import pytest

from orapo.data.__main__ import main


def run(*arguments):
    return main(["miniature", *map(str, arguments)])


def test_chexpert_plus(tmp_path, capsys):
    assert run("chexpert_plus", tmp_path / "m", "--num-patients", 10, "--seed", 3) == 0
    assert (tmp_path / "m" / "df_chexpert_plus_240401.csv").read_text().count("FINDINGS:") > 5
    assert capsys.readouterr().out == f"wrote {tmp_path / 'm'}\n"
    run("chexpert_plus", tmp_path / "other", "--num-patients", 10)
    tables = [tmp_path / name / "df_chexpert_plus_240401.csv" for name in ("m", "other")]
    assert tables[0].read_bytes() != tables[1].read_bytes()


def test_mimic_cxr(tmp_path, capsys):
    assert run("mimic_cxr", tmp_path / "m", "--num-patients", 10, "--version", "2.0.0", "--zip-reports") == 0
    assert (tmp_path / "m" / "mimic-cxr-reports.zip").is_file()
    assert not (tmp_path / "m" / "mimic-cxr-2.1.0-test-set-labeled.csv").exists()
    assert capsys.readouterr().out == f"wrote {tmp_path / 'm'}\n"


def test_annotation(tmp_path, capsys):
    assert run("annotation", tmp_path / "m", "--num-patients", 10, "--form", "chexpert_plus") == 0
    assert (tmp_path / "m" / "PNG").is_dir()
    assert capsys.readouterr().out == f"wrote {tmp_path / 'm' / 'annotation.json'}\n"


@pytest.mark.parametrize("name", ["study_table", "hf_dataset", "rexgradient", "rexrank", "iu_xray"])
def test_every_other_data_set(tmp_path, capsys, name):
    assert run(name, tmp_path / "m", "--num-patients", 10) == 0
    assert capsys.readouterr().out.startswith(f"wrote {tmp_path / 'm'}")


@pytest.mark.parametrize("option", [("--num-patients", 100_001), ("--num-patients", 9), ("--seed", 2**32)])
def test_a_number_out_of_range_makes_no_folder(tmp_path, capsys, option):
    assert run("mimic_cxr", tmp_path / "m", *option) == 1
    assert str(option[1]) in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        run("padchest", tmp_path / "m")
