"""The data set of docs/extending.md is read as it stands there."""

import re
import sys
import types
from pathlib import Path

import pytest
from PIL import Image

from orapo.data.balanced_subset import BalancedSubset
from orapo.data.check import check_data_set
from orapo.data.source import StudySource
from orapo.errors import DataError
from orapo.records import Split
from orapo.reward.weighted import WeightedReward

DOC = Path(__file__).parents[3] / "docs" / "extending.md"


def from_the_docs(heading, monkeypatch):
    """The one module below a heading."""
    text = DOC.read_text(encoding="utf-8").partition(f"# {heading}\n")[2].partition("\n# ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) < 50
    module = types.ModuleType("example_of_the_docs")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, module.__dict__)
    return module


@pytest.fixture
def example(monkeypatch):
    return from_the_docs("A data set of your own format", monkeypatch)


def test_it_lists_reads_and_checks(example, tmp_path):
    rows = [f"a{number},p{number},{number}.png,Mild edema." for number in range(10)]
    (tmp_path / "export.csv").write_text("\n".join(["accession,patient,file,text", *rows]) + "\n")
    for number in range(10):
        Image.new("L", (40 + number, 40)).save(tmp_path / f"{number}.png")
    source = example.Export(str(tmp_path), max_images=1).open()
    assert [len(source.entries(split)) for split in Split] == [7, 1, 2]
    study = source.read("a3")
    assert (study.oracle_report, source.load_images(study)[0].size) == ("Mild edema.", (43, 40))
    assert check_data_set(example.Export(str(tmp_path))).problems == ()
    (tmp_path / "3.png").unlink()
    assert "3.png" in check_data_set(example.Export(str(tmp_path)), num_opened=None).problems[0]
    with pytest.raises(DataError, match=r"the export: no folder given; set data.root or the environment variable"):
        example.Export(None).open()


def test_a_task_is_a_source_of_questions(monkeypatch):
    source = from_the_docs("A task of your own", monkeypatch).Parity(num_questions=6)
    assert isinstance(source, StudySource)
    studies = source.entries(Split.TRAIN)
    assert WeightedReward({"answer": 1.0}).score([one.oracle_report for one in studies], studies)[3].total == 1
    manifest = BalancedSubset(num_studies=4, seed=0).choose(studies, source_digest=source.digest())
    assert manifest.positives_after == {"even": 2, "odd": 2}
