"""The evaluation's config: flags, what is evaluated, and a run's settings below the command line's."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tests.configs import CONF, composed

from orapo.errors import CheckpointError, SettingError
from orapo.experiment.evaluate_command import evaluation_folder, with_overrides_for_flags
from orapo.experiment.evaluate_config import Evaluation, read_evaluation

NEEDED = {
    "questions": ["data.path=questions.jsonl"],
    "study_table": ["data.csv=studies.csv", "data.root=images"],
    "annotation": ["data.annotation=annotation.json", "data.root=images"],
    "hf_dataset": ["data.path=folder"],
}


def read(*overrides: str) -> Evaluation:
    return read_evaluation(composed(*overrides, name="evaluate"), overrides)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a finished run leaves, as far as an evaluation's settings go."""
    config = composed(
        "model=qwen2_5_vl_3b",
        "model.path=base_of_the_run",
        "data.max_test_studies=7",
        "seed=5",
        "trainer.precision=bf16-mixed",
        "training.eval_batch_size=3",
        "rollout.max_new_tokens=33",
    )
    OmegaConf.save(config, tmp_path / "config.yaml", resolve=True)
    (tmp_path / "model").mkdir()
    (tmp_path / "subset.json").write_text("{}")
    return tmp_path


def test_flags_are_overrides() -> None:
    written = with_overrides_for_flags(["--export", "radeval", "seed=1", "--against=a.csv", "--help", "-m"])
    assert written == ["export=radeval", "seed=1", "against=a.csv", "--help", "-m"]
    assert with_overrides_for_flags(["--export"]) == ["export="]
    assert with_overrides_for_flags(["--page", "seed=1", "--show-private"]) == [
        "page=true",
        "seed=1",
        "show_private=true",
    ]


def test_the_default_is_the_embedded_policy_on_phantoms() -> None:
    evaluation = read()
    assert (evaluation.kind, evaluation.name) == ("checkpoint", "tiny")
    assert evaluation.model == read("checkpoint=tiny").model
    assert (evaluation.settings.sampling.greedy, evaluation.settings.sampling.max_new_tokens) == (True, 48)
    assert evaluation_folder(evaluation).parent == Path("evaluations/tiny")


def test_a_run_answers_what_the_command_line_leaves_open(run: Path) -> None:
    evaluation = read(f"run={run}")
    config = evaluation.config
    assert (config.seed, config.eval_batch_size, config.precision, config.data.max_test_studies) == (
        5,
        3,
        "bf16-mixed",
        7,
    )
    assert evaluation.settings.sampling.max_new_tokens == 33
    assert evaluation.model.path == str(run / "model")
    assert evaluation.base == "base_of_the_run"
    assert evaluation.model.dtype == "bfloat16"
    assert evaluation.model.lora is None
    assert not evaluation.model.gradient_checkpointing
    assert evaluation.manifest == str(run / "subset.json")
    assert evaluation_folder(evaluation).parent == run / "evaluation"


def test_the_command_line_stands_above_a_run(run: Path) -> None:
    changes = ["seed=9", "data.max_test_studies=2", "data.source.num_test=20", "model.dtype=float32", "base=elsewhere"]
    evaluation = read(f"run={run}", *changes)
    assert (evaluation.config.seed, evaluation.settings.data.max_test_studies, evaluation.base) == (9, 2, "elsewhere")
    assert evaluation.config.data.source.num_test == 20
    assert evaluation.training_config.data.source.num_test == 200, "the training studies stay the run's"
    assert evaluation.model.dtype == "float32"
    other = read(f"run={run}", "data=study_table", *NEEDED["study_table"])
    assert other.config.data.source._target_.endswith("StudyTable")
    assert other.settings.data.max_test_studies is None
    assert other.settings.sampling.max_new_tokens == 33


@pytest.mark.parametrize("data", sorted(file.stem for file in (CONF / "data").glob("*.yaml")))
@pytest.mark.parametrize("policy", ["local", "api"])
@pytest.mark.slow
def test_every_data_set_goes_with_every_policy(data: str, policy: str) -> None:
    model = ["system.model=openai/drawer"] if policy == "api" else []
    evaluation = read(f"data={data}", *NEEDED.get(data, []), f"system={policy}", *model)
    assert evaluation.kind == ("api" if policy == "api" else "checkpoint")
    if policy == "api":
        assert evaluation.config.system.is_private == (not data.startswith(("phantom", "arithmetic")))


def test_two_things_at_once_and_unfinished_runs_are_refused(run: Path) -> None:
    with pytest.raises(SettingError, match="run and system=api are given"):
        read(f"run={run}", "system=api", "system.model=openai/drawer")
    (run / "subset.json").unlink()
    with pytest.raises(CheckpointError, match=r"subset.json does not exist"):
        read(f"run={run}")
    with pytest.raises(SettingError, match="name is 'a/b'"):
        read("name=a/b")
