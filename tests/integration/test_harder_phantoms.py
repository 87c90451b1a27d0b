"""A run on phantoms with a spurious mark, its evaluation in a process of its own, and both side by side."""

import csv
import json
import sys
from pathlib import Path

import pytest
from tests import forks

from orapo.experiment.command_line import run_command
from orapo.experiment.compare_command import main
from orapo.experiment.train_command import train_command

ROOT = Path(__file__).parents[2]
TINY = [
    "data.source.num_train=200",
    "data.source.num_validate=4",
    "data.source.num_test=42",
    "data.subset.num_studies=12",
    "training.num_steps=3",
    "training.batch_size=4",
    "training.validate_every_steps=null",
    "trainer.accelerator=cpu",
]


@pytest.mark.slow
def test_a_run_on_spurious_phantoms_is_evaluated_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "data=phantoms_spurious", *TINY])
    run_command(train_command)
    (folder,) = (tmp_path / "logs" / "orapo").iterdir()
    summary = json.loads((folder / "summary.json").read_text())

    evaluated = forks.run(["evaluate", f"run={folder}", "bootstrap.num_resamples=100"], tmp_path / "log", tmp_path)
    assert evaluated.wait() == 0, evaluated.text()
    assert "Pneumothorax, studies with and without the spurious mark" in evaluated.text()
    (evaluation,) = (folder / "evaluation").iterdir()
    content = json.loads((evaluation / "evaluation.json").read_text())
    for system in ("system", "shuffled_images"):
        measures = content["scores"][system]["measures"]
        sides = [
            measures[f"uncertain_not_positive/mark/Pneumothorax/{side}/false_positive_rate"]["value"]
            for side in ("with_mark", "without_mark", "difference")
        ]
        assert sides[0] - sides[1] == pytest.approx(sides[2], abs=1e-12)
    assert content["settings"]["data"]["source"]["difficulty"]["mark"]["train_rate_with"] == 0.95
    assert (
        summary["trained"]["clinical"]["macro"]["f1"]
        == (content["scores"]["system"]["measures"]["uncertain_not_positive/all_14/macro/f1"]["value"])
    )

    assert main([str(folder), str(evaluation), "--csv", str(tmp_path / "out.csv")]) == 0
    assert "1 run in 1 group, 1 evaluation" in capsys.readouterr().out
    with (tmp_path / "out.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["kind"] == "evaluation")
    assert row["macro_f1"] == f"{summary['trained']['clinical']['macro']['f1']:.8g}"
    assert (row["macro_f1_difference"], row["macro_f1_p_studies"]) == ("0", "1"), "the same reports on the same studies"
    assert float(row["label_frequencies_macro_f1"]) > 0
