"""Every combination that the config tree offers composes, has known keys only, and builds its cheap parts."""

from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_class
from omegaconf import OmegaConf
from tests.configs import CONF, composed

from orapo.errors import DataError, SettingError
from orapo.experiment.config import OptimizedMetric, read_experiment
from orapo.experiment.parts import build_objective, check_zero_term
from orapo.experiment.sweeps.earlier_jobs import validation_metric
from orapo.experiment.targets import build, check
from orapo.policy.embedded import EMBEDDED
from orapo.policy.sighted import base_folder as sighted_folder
from orapo.search.results import override as as_override
from orapo.search.space import read_space

FILLED = ["data.csv=studies.csv", "data.root=images"]
NEEDED = {
    "study_table": FILLED,
    "own_data": FILLED,
    "annotation": ["data.annotation=annotation.json", "data.root=images"],
    "hf_dataset": ["data.path=folder"],
    "questions": ["data.path=questions.csv"],
}


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "reward"), list(product(options("objective"), options("reward"))))
def test_objectives_and_rewards(objective: str, reward: str) -> None:
    """Models with them: test_composition.py."""
    config = composed(f"objective={objective}", f"reward={reward}")
    experiment = read_experiment(config)
    built = build_objective(experiment)
    build(config.reward, "reward")
    assert built.needs_rollouts == (objective != "sft")
    assert built.needs_oracle == (objective != "grpo")


PARTS = [
    (part, option)
    for part in ("policy_loss", "oracle_loss", "zero_reward", "average")
    for option in options(f"objective/{part}")
]


@pytest.mark.parametrize(("part", "option"), PARTS)
@pytest.mark.slow
def test_parts_of_the_objective_are_exchanged_by_name(part: str, option: str) -> None:
    config = composed(f"objective/{part}={option}")
    built = build_objective(read_experiment(config))
    default = build_objective(read_experiment(composed()))
    is_default = option in ("dr_grpo", "dpo", "fraction", "per_study")
    changed = type(getattr(built, part)) is not type(getattr(default, part)) or option == "dpo_zero_reward"
    assert changed != is_default


@pytest.mark.parametrize("name", options("experiment"))
@pytest.mark.slow
def test_experiments(name: str) -> None:
    config = composed(f"+experiment={name}", *NEEDED.get(name, []))
    read_experiment(config)


@pytest.mark.parametrize("data", options("data"))
@pytest.mark.slow
def test_data_sets(data: str) -> None:
    config = composed(f"data={data}", *NEEDED.get(data, []))
    read_experiment(config)


@pytest.mark.parametrize("experiment", ["mimic", "chexpert_plus"])
@pytest.mark.parametrize("model", ["tiny", "qwen2_5_vl_3b", "qwen2_5_vl_3b_full"])
@pytest.mark.slow
def test_data_sets_take_the_root_from_the_environment_and_make_one_pass(
    experiment: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ORAPO_MIMIC_ROOT", "ORAPO_CHEXPERT_PLUS_ROOT"):
        monkeypatch.delenv(name, raising=False)
    unset = read_experiment(composed(f"+experiment={experiment}", f"model={model}"))
    assert unset.data.root is None
    with pytest.raises(DataError, match=r"no folder given; set data\.root or the environment variable ORAPO_"):
        build(unset.config.data.source, "data.source")
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


ROWS = {
    "orapo": ("DrGrpo", "Dpo", "PerStudyAverage", 0.05, 0.15, ["facts"], 1000),
    "orapo_400": ("DrGrpo", "Dpo", "PerStudyAverage", 0.05, 0.15, ["facts"], 400),
    "grpo_accuracy": ("DrGrpo", "Dpo", "PerStudyAverage", 0.0, 0.0, ["accuracy"], 1000),
    "grpo": ("DrGrpo", "Dpo", "PerStudyAverage", 0.0, 0.0, ["facts"], 1000),
    "grpo_sft": ("DrGrpo", "Sft", "PerStudyAverage", 0.05, 0.15, ["facts"], 1000),
    "dpo": ("DrGrpo", "Dpo", "PerStudyAverage", 1.0, 1.0, ["facts"], 1000),
    "sft": ("DrGrpo", "Sft", "PerStudyAverage", 1.0, 1.0, ["facts"], 1000),
    "constant_weight": ("DrGrpo", "Dpo", "PerStudyAverage", 0.1, 0.1, ["facts"], 1000),
    "batch_average": ("DrGrpo", "Dpo", "BatchAverage", 0.05, 0.15, ["facts"], 1000),
    "zero_reward_negatives": ("DrGrpo", "Dpo", "PerStudyAverage", 0.05, 0.15, ["facts"], 1000),
    "policy_grpo": ("Grpo", "Dpo", "PerStudyAverage", 0.05, 0.15, ["facts"], 1000),
    "dapo": ("Dapo", "Dpo", "PerStudyAverage", 0.05, 0.15, ["facts"], 1000),
    "gspo": ("Gspo", "Dpo", "PerStudyAverage", 0.05, 0.15, ["facts"], 1000),
    "cispo": ("Cispo", "Dpo", "PerStudyAverage", 0.05, 0.15, ["facts"], 1000),
    "simpo": ("DrGrpo", "SimPo", "PerStudyAverage", 0.05, 0.15, ["facts"], 1000),
    "orpo": ("DrGrpo", "Orpo", "PerStudyAverage", 0.05, 0.15, ["facts"], 1000),
    "cal_dpo": ("DrGrpo", "CalDpo", "PerStudyAverage", 0.05, 0.15, ["facts"], 1000),
    "kto": ("DrGrpo", "Kto", "PerStudyAverage", 0.05, 0.15, ["facts"], 1000),
}


def swept(sweep: str) -> dict[str, list[str]]:
    """The overrides that a sweep gives each of its keys, read as Hydra's sweeper reads them."""
    params = OmegaConf.load(CONF / "sweep" / f"{sweep}.yaml").hydra.sweeper.params
    parsed = OverridesParser.create().parse_overrides([f"{key}={values}" for key, values in params.items()])
    assert all(override.is_discrete_sweep() for override in parsed)
    return {o.get_key_element(): [f"{o.get_key_element()}={v}" for v in o.sweep_string_iterator()] for o in parsed}


# Every value of every key, the other keys at their first: as many jobs as there are values.
JOBS = [
    (sweep, (value, *(others[0] for name, others in swept(sweep).items() if name != key)))
    for sweep in options("sweep")
    if sweep != "search"
    for key, values in swept(sweep).items()
    for value in values
]


@pytest.mark.slow
@pytest.mark.parametrize(("sweep", "job"), JOBS)
def test_sweeps(sweep: str, job: tuple[str, ...]) -> None:
    config = composed(*job, f"+sweep={sweep}")
    experiment = read_experiment(config)
    built = build_objective(experiment)
    reward = build(config.reward, "reward")
    assert experiment.run_name == sweep
    assert experiment.training.inner_steps == (2 if sweep == "objectives" else 1)
    row = next((override.partition("=")[2] for override in job if override.startswith("+row=")), None)
    if row is not None:
        parts = (built.policy_loss, built.oracle_loss, built.average)
        assert ROWS[row] == (
            *(type(part).__name__ for part in parts),
            built.w_min,
            built.w_max,
            list(reward.weights),
            experiment.data.subset["num_studies"],
        )
        negatives = getattr(built.oracle_loss, "negatives", None)
        assert (type(negatives).__name__ == "ZeroRewardRollouts") == (row == "zero_reward_negatives")
    if sweep == "rewards":
        (terms,) = (o.value() for o in OverridesParser.create().parse_overrides(list(job)) if "terms" in o.key_or_group)
        paid = {term for term, weight in terms.items() if weight}
        assert (set(reward.weights), reward.zero_term) == (paid, "facts")
    for key, _, value in (override.partition("=") for override in job):
        if not key.startswith("+") and not value.startswith("{") and not (CONF / key / f"{value}.yaml").exists():
            assert OmegaConf.select(config, key) == OmegaConf.create(f"value: {value}").value


@pytest.mark.slow
@pytest.mark.parametrize("row", OmegaConf.load(CONF / "sweep/ablation.yaml").hydra.sweeper.params["+row"].split(","))
def test_the_laboratory_runs_every_row_of_the_ablation_under_the_same_settings(row: str) -> None:
    experiment = read_experiment(composed("+experiment=laboratory", "+sweep=ablation", f"+row={row}", "seed=2"))
    built = build_objective(experiment)
    assert experiment.model.path == sighted_folder()
    assert (experiment.rollout.per_study, experiment.seed, experiment.run_name) == (8, 2, "ablation")
    assert (experiment.training.learning_rate, experiment.training.num_steps) == (4e-4, 240)
    assert (built.policy_loss.kl_coef, built.w_min, built.w_max) == (0.003, *ROWS[row][3:5])


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [120, 240])
@pytest.mark.parametrize("model", ["sighted_narrow", "sighted", "sighted_wide"])
def test_the_laboratory_trains_every_width_under_the_same_settings(model: str, num_steps: int) -> None:
    """The sweep's model wins over the laboratory's, and its settings stay."""
    (models, lengths), job = swept("scaling").values(), (f"model={model}", f"training.num_steps={num_steps}")
    assert job in product(models, lengths)
    found, own = (
        composed("+experiment=laboratory", *overrides) for overrides in (["+sweep=scaling", *job], ["run_name=scaling"])
    )
    experiment = read_experiment(found)
    assert EMBEDDED[experiment.model.path] == model
    assert experiment.training.num_steps == num_steps
    own.model.path, own.training.num_steps = found.model.path, num_steps
    assert found == own


def test_both_ends_of_the_search_are_settings() -> None:
    hydra = composed("+sweep=search", with_hydra=True).hydra
    assert hydra.sweeper.n_trials == 30
    assert hydra.sweeper.parallel_trials == 1
    space = read_space(OmegaConf.to_container(hydra.sweeper.space, resolve=True))  # type: ignore[arg-type]
    assert {key for dimension in space for key in dimension.keys} == {
        "objective.alpha",
        "objective.w_min",
        "objective.w_max",
        "objective.gamma",
        "rollout.per_study",
        "training.learning_rate",
        "reward.f_beta",
    }
    for end in (0, -1):
        drawn = [d.settings(d.distribution().choices[end] if d.kind == "choices" else d.values[end]) for d in space]  # type: ignore[attr-defined]
        overrides = [as_override(key, value) for settings in drawn for key, value in settings.items()]
        experiment = read_experiment(composed(*overrides, "+sweep=search"))
        build_objective(experiment)
        build(experiment.config.reward, "reward")
        assert experiment.training.validate_every_steps is not None, "a search needs a validation"


@pytest.mark.parametrize("launcher", options("hydra/launcher"))
@pytest.mark.parametrize("sweeper", options("hydra/sweeper"))
@pytest.mark.slow
def test_launchers_and_sweepers_fit(launcher: str, sweeper: str) -> None:
    hydra = composed(f"hydra/launcher={launcher}", f"hydra/sweeper={sweeper}", with_hydra=True).hydra
    assert get_class(hydra.launcher._target_)
    for name, callback in hydra.callbacks.items():
        check(callback, f"hydra.callbacks.{name}")
    OmegaConf.resolve(hydra.sweeper)
    check(hydra.sweeper, "hydra.sweeper")
    if sweeper == "tpe":
        assert hydra.sweeper.parallel_trials == (2 if launcher == "slots" else 1)


def test_slurms_keys_are_the_launchers() -> None:
    from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf

    for launcher, known in (("slurm", SlurmQueueConf), ("local", LocalQueueConf)):
        ours = OmegaConf.load(CONF / "hydra" / "launcher" / f"{launcher}.yaml")
        assert set(ours) <= {field.name for field in fields(known)}


def test_what_is_optimised_is_a_validation_score() -> None:
    from orapo.training.run_files import ANSWER_VALIDATION_NAMES, VALIDATION_NAMES

    assert set(get_args(OptimizedMetric)) <= {*VALIDATION_NAMES, *ANSWER_VALIDATION_NAMES}
    assert read_experiment(composed()).optimized_metric is None
    with pytest.raises(SettingError, match="optimized_metric is 'test/macro_f1'; it must be one of macro_f1, "):
        read_experiment(composed("optimized_metric=test/macro_f1"))


def test_questions_are_optimised_by_accuracy_where_no_score_is_named(tmp_path: Path) -> None:
    table = tmp_path / "validation.csv"
    table.write_text("step,macro_f1,micro_f1\n0,0.1,0.2\n10,0.3,0.4\n")
    assert (validation_metric(tmp_path, None), validation_metric(tmp_path, "micro_f1")) == (0.3, 0.4)
    table.write_text("step,accuracy\n0,0.1\n10,0.6\n")
    assert validation_metric(tmp_path, None) == 0.6
    with pytest.raises(DataError, match="lacks the column macro_f1"):
        validation_metric(tmp_path, "macro_f1")
    table.write_text("step,accuracy\n0,0.1\n")
    assert validation_metric(tmp_path, None) is None


def test_every_row_is_in_a_sweep() -> None:
    used = {override.partition("=")[2] for _, job in JOBS for override in job if override.startswith("+row=")}
    assert used == set(ROWS) == {row for row in options("row") if not row.startswith("sft_then")}, "of one stage"


def test_the_papers_settings_are_in_the_grid_and_weights_come_in_pairs() -> None:
    values = swept("table6")
    assert "objective.alpha=0.5" in values["objective.alpha"]
    assert "objective.gamma=2" in values["objective.gamma"]
    pairs = []
    for override in values["objective"]:
        objective = build_objective(read_experiment(composed(override)))
        pairs.append((objective.w_min, objective.w_max))
    assert pairs == [(0.0, 0.1), (0.05, 0.15), (0.1, 0.3)]


def test_the_command_line_wins_over_a_row() -> None:
    config = composed("+row=orapo_400", "+sweep=ablation", "data.subset.num_studies=200", "objective.w_max=0.4")
    assert config.data.subset.num_studies == 200
    assert config.objective.w_max == 0.4


@pytest.mark.parametrize(
    ("overrides", "weights", "zero_term"),
    [
        ([], {"facts": 1.0}, "facts"),
        (["reward=accuracy"], {"accuracy": 1.0}, "accuracy"),
        (["reward=fact_score_llm"], {"facts": 1.0}, "facts"),
        (["+reward.terms.rouge_l=1"], {"facts": 0.5, "rouge_l": 0.5}, "facts"),
        (["reward=fact_score_llm", "+reward.terms.length=3"], {"facts": 0.25, "length": 0.75}, "facts"),
        (["reward.terms.facts=0", "+reward.terms.attributes=0.3"], {"attributes": 1.0}, "attributes"),
        (["reward=accuracy", "reward.terms.facts=1"], {"facts": 0.5, "accuracy": 0.5}, "facts"),
        (["+reward.terms.chrf=1", "reward.zero_term=chrf", "reward.zero_at_most=0.2"], None, "chrf"),
    ],
)
def test_terms_of_the_reward(overrides: list[str], weights: dict[str, float] | None, zero_term: str) -> None:
    experiment = read_experiment(composed(*overrides))
    reward = build(experiment.config.reward, "reward")
    assert weights in (None, reward.weights)
    assert reward.zero_term == zero_term
    check_zero_term(build_objective(experiment), reward)


def test_a_mixture_needs_a_term_that_says_what_is_zero() -> None:
    terms = ["reward.terms.facts=0", "+reward.terms.rouge_l=1", "+reward.terms.length=1"]
    experiment = read_experiment(composed(*terms))
    reward = build(experiment.config.reward, "reward")
    with pytest.raises(SettingError, match=r"^reward.terms pays rouge_l, length, none of which says what .*") as raised:
        check_zero_term(build_objective(experiment), reward)
    assert "\n" not in str(raised.value)
    check_zero_term(build_objective(read_experiment(composed(*terms, "objective=grpo"))), reward)
    for way_out in (["reward.zero_term=facts"], ["reward.zero_term=length", "reward.zero_at_most=0.3"]):
        check_zero_term(build_objective(experiment), build(composed(*terms, *way_out).reward, "reward"))


def test_a_term_that_asks_a_model_is_refused_where_there_is_none() -> None:
    for overrides in (["+reward.terms.rubric=1"], ["reward=served", "+reward.terms.rubric=0.1"]):
        with pytest.raises(
            SettingError, match=r"^reward\.terms\.rubric asks a language model, and this reward has none;"
        ):
            read_experiment(composed(*overrides))
    for overrides in (["reward=rubric"], ["reward=fact_score_llm", "+reward.terms.rubric=1"]):
        assert build(read_experiment(composed(*overrides)).config.reward, "reward").weights["rubric"] == 0.5
    with pytest.raises(
        SettingError, match=r"^reward\.term_settings\.rubric\.file is 'none\.yaml', which can't be used"
    ):
        read_experiment(composed("reward=rubric", "reward.term_settings.rubric.file=none.yaml"))


def test_a_model_that_nobody_needs_is_not_asked() -> None:
    paid = composed("reward=fact_score_llm", "reward.terms.facts=0", "+reward.terms.chrf=1").reward
    with pytest.raises(SettingError, match=r"reward\.terms pays chrf, which need no language model; take"):
        build(paid, "reward")
