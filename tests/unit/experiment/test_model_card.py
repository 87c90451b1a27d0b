"""The model card: scores with intervals and controls, data, settings, licence, and nothing of a study or a path."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from tests.unit.comparison.evaluation_folders import write_evaluation_folder
from tests.unit.comparison.run_folders import config, marks

from orapo.comparison.run_folder import read_summary
from orapo.experiment.model_card import model_card
from orapo.policy.embedded import EMBEDDED


@pytest.fixture
def summary(tmp_path: Path) -> dict[str, Any]:
    called, true = marks(0, 30, 0.6)
    content = read_summary(write_evaluation_folder(tmp_path / "e", called, true) / "evaluation.json")
    assert content is not None
    return {
        "run_name": "orapo",
        "scores": content["scores"],
        "counts": {"train_studies": 1000, "validate_studies": 98, "test_studies": 30},
        "max_test_studies": 30,
        "packages": {"torch": "2.13.0"},
        "git_commit": None,
    }


def card(summary: dict[str, Any], path: str = "owner/base", **changes: Any) -> tuple[dict[str, Any], str]:
    losses = {
        "objective__policy_loss": {"_target_": "orapo.objective.grpo.DrGrpo"},
        "objective__oracle_loss": {"_target_": "orapo.objective.dpo.Dpo"},
    }
    settings = config(data__is_private=True, **{**losses, **changes})
    text = model_card(summary, OmegaConf.create(settings), path)
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_what_it_says_is_the_runs(summary: dict[str, Any]) -> None:
    metadata, body = card(summary)
    assert metadata["base_model"] == "owner/base"
    assert (metadata["license"], metadata["library_name"]) == ("other", "transformers")
    found = summary["scores"]["system"]["measures"]["uncertain_not_positive/all_14/macro/f1"]
    for told in (
        f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]",
        "PhantomSource: 1,000 training studies, 98 validation studies, 30 test studies (capped).",
        "| shuffled images | not computed |",
        "| always positive |",
        "| objective.alpha | 0.5 |",
        "| objective.policy_loss | DrGrpo |",
        "writes reports of chest radiographs",
        "That of owner/base applies",
        "trained on patients' data",
        "Not for clinical use",
    ):
        assert told in body
    assert "Made-up" not in body, "no report's words"


def test_of_questions_it_tells_the_accuracy(summary: dict[str, Any]) -> None:
    measures = {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}
    metadata, body = card({**summary, "scores": {"system": {"title": "trained policy", "measures": measures}}})
    assert metadata["tags"] == ["question-answering", "orapo"]
    assert "model that answers questions" in body
    assert "| trained policy | 0.500 [0.400, 0.600] |  |" in body
    for untrue in ("radiographs", "CheXpert", "orapo generate", "rule labeler"):
        assert untrue not in body


def test_an_adapter_names_its_base_and_its_licence(summary: dict[str, Any], tmp_path: Path) -> None:
    tiny = next(path for path, name in EMBEDDED.items() if name == "tiny")
    metadata, body = card(summary, tiny, model__lora={"rank": 8, "alpha": 16})
    assert (metadata["license"], metadata["library_name"]) == ("apache-2.0", "peft")
    assert "is under apache-2.0" in body
    assert "| model.lora.rank | 8 |" in body
    assert str(Path(tiny).parent) not in body
    lora = {"rank": 8, "alpha": 16}
    metadata, body = card(summary, model__lora=lora, first={"training": {"num_steps": 2}})
    assert metadata["base_model"] == "owner/base"
    assert "with `BASE` for `first/merged` of the run, owner/base after its first stage" in body


@pytest.mark.parametrize(
    ("written", "licence"),
    [
        (b"---\r\nlicense: mit\r\n---\r\n# A base", "mit"),
        (b"---\nlicense: [broken\n---\n# A base", "other"),
        (b"---\nlicense: \xff\n---\n", "other"),
        (b"---\nlicense: 2024-99-99\n---\n", "other"),
        (b"---\nlicense: " + b"[" * 3000 + b"\n---\n", "other"),
        (b"# A base\n---\nlicense: mit\n---\n", "other"),
    ],
)
def test_an_odd_card_of_the_base_ends_no_run(
    written: bytes, licence: str, summary: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_bytes(written)
    assert card(summary, str(tmp_path))[0]["license"] == licence
