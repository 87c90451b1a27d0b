"""Every combination that the config tree offers composes, has known keys only, and builds its cheap parts."""

from itertools import product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from orapo.experiment.command_line import one_line, run_folder
from orapo.experiment.config import build, check_constructor_keys, plain, read_experiment
from orapo.experiment.parts import build_objective

CONF = Path(__file__).parents[2] / "conf"
FILLED = ["data.csv=studies.csv", "data.root=images"]
NEEDED = {
    "study_table": FILLED,
    "own_data": FILLED,
    "annotation": ["data.annotation=annotation.json", "data.root=images"],
}


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def composed(*overrides: str) -> DictConfig:
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.mark.parametrize(
    ("model", "objective", "reward"), list(product(options("model"), options("objective"), options("reward")))
)
def test_models_objectives_and_rewards(model: str, objective: str, reward: str) -> None:
    path = ["model.path=folder"] if model == "checkpoint" else []
    config = composed(f"model={model}", f"objective={objective}", f"reward={reward}", *path)
    experiment = read_experiment(config)
    built = build_objective(experiment)
    build(config.reward, "reward")
    assert built.needs_rollouts == (objective != "sft")
    assert built.needs_oracle == (objective != "grpo")
    assert (experiment.model.lora is not None) == (model == "qwen2_5_vl_3b")


PARTS = [
    (part, option)
    for part in ("policy_loss", "oracle_loss", "zero_reward", "average")
    for option in options(f"objective/{part}")
]


@pytest.mark.parametrize(("part", "option"), PARTS)
def test_parts_of_the_objective_are_exchanged_by_name(part: str, option: str) -> None:
    config = composed(f"objective/{part}={option}")
    built = build_objective(read_experiment(config))
    default = build_objective(read_experiment(composed()))
    is_default = option in ("dr_grpo", "dpo", "fraction", "per_study")
    changed = type(getattr(built, part)) is not type(getattr(default, part)) or option == "dpo_zero_reward"
    assert changed != is_default


@pytest.mark.parametrize("name", options("experiment"))
def test_experiments(name: str) -> None:
    config = composed(f"+experiment={name}", *NEEDED.get(name, []))
    read_experiment(config)
    check_constructor_keys(plain(config.data), "data")


@pytest.mark.parametrize("data", options("data"))
def test_data_sets(data: str) -> None:
    config = composed(f"data={data}", *NEEDED.get(data, []))
    read_experiment(config)
    check_constructor_keys(plain(config.data), "data")


@pytest.mark.parametrize("experiment", ["mimic", "chexpert_plus"])
@pytest.mark.parametrize("model", ["tiny", "qwen2_5_vl_3b", "qwen2_5_vl_3b_full"])
def test_data_sets_take_the_root_from_the_environment_and_make_one_pass(
    experiment: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ORAPO_MIMIC_ROOT", "ORAPO_CHEXPERT_PLUS_ROOT"):
        monkeypatch.delenv(name, raising=False)
    unset = read_experiment(composed(f"+experiment={experiment}", f"model={model}"))
    assert unset.data.root is None
    with pytest.raises(InstantiationException) as raised:
        build(unset.config.data.source, "data.source")
    assert "no folder given; set data.root or the environment variable ORAPO_" in one_line(raised.value)
    for name in ("ORAPO_MIMIC_ROOT", "ORAPO_CHEXPERT_PLUS_ROOT"):
        monkeypatch.setenv(name, "somewhere")
    found = read_experiment(composed(f"+experiment={experiment}", f"model={model}"))
    assert found.data.source["root"] == "somewhere"
    assert (found.training.num_steps, found.training.num_passes) == (None, 1)
    assert found.rollout.per_study == (4 if model == "tiny" else 8)


@pytest.mark.parametrize("model", ["qwen2_5_vl_3b", "qwen2_5_vl_3b_full"])
def test_a_real_model_on_a_users_table_as_documented(model: str) -> None:
    experiment = read_experiment(composed(f"model={model}", "data=study_table", *FILLED))
    assert experiment.rollout.per_study == 8
    assert experiment.training.num_passes == 1


def test_the_command_line_wins_over_an_experiment() -> None:
    config = composed("+experiment=smoke", "training.num_steps=7", "objective.alpha=0.25", "rollout.per_study=3")
    experiment = read_experiment(config)
    assert experiment.training.num_steps == 7
    assert experiment.rollout.per_study == 3
    assert build_objective(experiment).alpha == 0.25


def test_the_papers_settings_are_the_defaults_of_the_full_model() -> None:
    experiment = read_experiment(composed("model=qwen2_5_vl_3b_full"))
    objective = build_objective(experiment)
    assert (objective.alpha, objective.w_min, objective.w_max, objective.gamma) == (0.5, 0.05, 0.15, 2.0)
    assert experiment.training.learning_rate == 2.5e-7
    assert experiment.training.batch_size == 16
    assert experiment.training.num_passes == 1
    assert experiment.data.subset["num_studies"] == 1000
