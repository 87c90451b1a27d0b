"""IU X-Ray: both layouts, R2Gen's split, and what can't be used."""

import json
import os

import pytest

from orapo.data.check import check_data_set
from orapo.data.iu_xray import IuXray
from orapo.data.miniature import write_miniature_iu_xray
from orapo.data.miniature.studies import make_studies
from orapo.errors import DataError
from orapo.records import Split


@pytest.fixture(scope="module", params=["tables", "xml"])
def root(request, tmp_path_factory):
    return str(write_miniature_iu_xray(tmp_path_factory.mktemp("iu") / "m", 20, 3, layout=request.param))


def test_both_layouts_have_the_same_studies(root):
    source = IuXray(root, views="all").open()
    made = {str(study.serial): study for study in make_studies(20, 3) if study.findings}
    listed = [entry.study_id for split in Split for entry in source.entries(split)]
    assert sorted(listed, key=int) == list(made)
    for study_id in listed:
        study = source.read(study_id)
        assert study.oracle_report == made[study_id].findings
        assert study.context.indication == "Made up for."
        assert len(study.image_paths) == len(made[study_id].views)


def test_the_split_of_r2gen_may_be_taken(root, tmp_path):
    samples = [
        {"id": f"CXR{number}_IM-1-2", "report": "x", "image_path": [f"CXR{number}_IM-1-2/0.png"]}
        for number in (1, 2, 4)
    ]
    path = tmp_path / "annotation.json"
    path.write_text(json.dumps({"train": samples[:1], "val": samples[1:2], "test": samples[2:]}))
    source = IuXray(root, annotation=str(path), views="all").open()
    assert [[entry.study_id for entry in source.entries(split)] for split in Split] == [["1"], ["2"], ["4"]]
    samples[0]["id"] = "one"
    path.write_text(json.dumps({"train": samples[:1], "val": samples[1:2], "test": samples[2:]}))
    with pytest.raises(DataError, match=r"train sample 0 .*: id is not like CXR3030_IM-1405"):
        IuXray(root, annotation=str(path)).open()


def test_another_seed_gives_another_split(root):
    tests = [{entry.study_id for entry in IuXray(root, seed=seed).open().entries(Split.TEST)} for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]


def test_what_is_damaged_or_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="IU X-Ray: 3 of 3 needed are missing: the table of reports"):
        IuXray(str(tmp_path)).open()
    folder = write_miniature_iu_xray(tmp_path / "m", 10, 0, layout="xml")
    (folder / "ecgen-radiology" / "1.xml").write_text("<eCitation>")
    with pytest.raises(DataError, match=r"1\.xml is no XML; is it complete"):
        IuXray(str(folder)).open()
    assert sum("1.xml is no XML" in problem for problem in check_data_set(IuXray(str(folder))).problems) == 1
    next((folder / "NLMCXR_png").glob("CXR2_*.png")).unlink()
    assert any("study 2: there is no image" in problem for problem in check_data_set(IuXray(str(folder))).problems)


@pytest.mark.parametrize("table", ["indiana_reports.csv", "indiana_projections.csv"])
def test_a_check_without_one_of_the_tables_tells_which(table, tmp_path):
    folder = write_miniature_iu_xray(tmp_path / "m", 10, 0)
    (folder / table).unlink()
    assert [table in problem for problem in check_data_set(IuXray(str(folder))).problems] == [True]


@pytest.mark.parametrize("encoding", ["no-such", "utf-32", "hex"])
def test_an_encoding_that_can_not_be_read(encoding, tmp_path):
    folder = write_miniature_iu_xray(tmp_path / "m", 10, 0, layout="xml")
    (folder / "ecgen-radiology" / "1.xml").write_text(f'<?xml version="1.0" encoding="{encoding}"?><eCitation/>')
    with pytest.raises(DataError, match=r"1\.xml is no XML"):
        IuXray(str(folder)).open()


def test_a_pipe_among_the_reports_is_refused_at_once(tmp_path):
    folder = write_miniature_iu_xray(tmp_path / "m", 10, 0, layout="xml")
    os.mkfifo(folder / "ecgen-radiology" / "99.xml")
    with pytest.raises(DataError, match=r"99\.xml is no regular file"):
        IuXray(str(folder)).open()


def test_one_image_by_another_path_is_refused(tmp_path):
    folder = write_miniature_iu_xray(tmp_path / "m", 10, 0)
    path = folder / "indiana_projections.csv"
    lines = path.read_text().splitlines()
    file = lines[1].split(",")[1]
    other = lines[-1].split(",")
    images = next(folder.rglob(file)).parent
    lines[-1] = ",".join([other[0], str(images / file), *other[2:]])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"stands already in study .*; an image may be listed once"):
        IuXray(str(folder), views="all").open()
