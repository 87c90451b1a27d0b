"""What an experiment, a model and a row compose to, against a table: the numbers that a reader of conf/ expects."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf
from tests.configs import CONF, ROOT, composed

from orapo.errors import SettingError
from orapo.experiment.config import Experiment, check_precision, read_experiment
from orapo.experiment.config_keys import WORDS, check_words, in_order
from orapo.experiment.config_tree import check_targets
from orapo.experiment.finished_run import read_saved
from orapo.experiment.parts import build_reward
from orapo.experiment.targets import build
from orapo.policy.embedded import EMBEDDED
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.weighted import WeightedReward
from orapo.training.distributed import Ranks

GOLDEN = ROOT / "tests" / "golden" / "run_config.yaml"
NEEDED = {"checkpoint": ["model.path=folder"], "own_data": ["data.csv=studies.csv", "data.root=images"]}


@dataclass(frozen=True)
class Expected:
    """What decides how a run trains."""

    path: str
    lora: bool
    dtype: str
    precision: str
    learning_rate: float
    num_steps: int | None
    num_passes: int | None
    per_study: int = 8
    batch_size: int = 16
    source: str = "PhantomSource"
    num_studies: int = 1000
    kl_coef: float | None = 0.0

    @classmethod
    def of(cls, experiment: Experiment) -> "Expected":
        """What a config says."""
        model, training, data = experiment.model, experiment.training, experiment.data
        return cls(
            path=model.path,
            lora=model.lora is not None,
            dtype=model.dtype,
            precision=experiment.config.trainer.precision,
            learning_rate=training.learning_rate,
            num_steps=training.num_steps,
            num_passes=training.num_passes,
            per_study=experiment.rollout.per_study,
            batch_size=training.batch_size,
            source=data.source["_target_"].rpartition(".")[2],
            num_studies=data.subset["num_studies"],
            kl_coef=experiment.config.objective.policy_loss.get("kl_coef"),
        )


SHIPPED = {name: folder for folder, name in EMBEDDED.items()}
QWEN = "Qwen/Qwen2.5-VL-3B-Instruct"
SIGHTED = ("sighted", "sighted_narrow", "sighted_wide", "rich")
MODELS = {
    "tiny": Expected(SHIPPED["tiny"], False, "float32", "32-true", 7e-4, 500, None, per_study=4),
    **{name: Expected(SHIPPED[name], False, "float32", "32-true", 4e-4, 240, None) for name in SIGHTED},
    "followup": Expected(SHIPPED["followup"], False, "float32", "32-true", 4e-4, 60, None, per_study=4),
    "arithmetic": Expected(SHIPPED["arithmetic"], False, "float32", "32-true", 1e-4, 60, None),
    "qwen2_5_vl_3b": Expected(QWEN, True, "bfloat16", "32-true", 1e-5, None, 1),
    "qwen2_5_vl_3b_full": Expected(QWEN, False, "float32", "bf16-mixed", 2.5e-7, None, 1),
    **{
        name: Expected(path, True, "bfloat16", "32-true", 1e-5, None, 1)
        for name, path in {
            "qwen2_5_vl_7b": "Qwen/Qwen2.5-VL-7B-Instruct",
            "qwen3_vl_2b": "Qwen/Qwen3-VL-2B-Instruct",
            "qwen3_vl_4b": "Qwen/Qwen3-VL-4B-Instruct",
            "qwen3_vl_8b": "Qwen/Qwen3-VL-8B-Instruct",
            "medgemma_1_5_4b": "google/medgemma-1.5-4b-it",
            "internvl3_5_4b": "OpenGVLab/InternVL3_5-4B-HF",
            "smolvlm2_2_2b": "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
            "smolvlm2_256m": "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
            "chexone_3b": "StanfordAIMI/CheXOne",
            "lingshu_7b": "lingshu-medical-mllm/Lingshu-7B",
            "huatuogpt_vision_7b": "FreedomIntelligence/HuatuoGPT-Vision-7B-Qwen2.5VL",
        }.items()
    },
    "checkpoint": Expected("folder", False, "float32", "bf16-mixed", 2.5e-7, None, 1),
}

OWN_SETTINGS = (*SHIPPED, "qwen2_5_vl_3b", "qwen2_5_vl_3b_full", "checkpoint")
"""The others train as qwen2_5_vl_3b does; they are its path and what its images may be."""

ROWS_FOR_PAIRS = ("orapo_400", "dapo", "gspo", "cispo", "policy_grpo")
"""Which choose a policy loss, as conf/experiment/with_loss answers to beside a model, or a number of their own."""

DEFAULT_MODELS = {
    "": "tiny",
    "smoke": "tiny",
    "sft_then_orapo": "tiny",
    "own_data": "tiny",
    "laboratory": "sighted",
    "followup": "followup",
    "arithmetic": "arithmetic",
    "mimic": "qwen2_5_vl_3b",
    "chexpert_plus": "qwen2_5_vl_3b",
}


def expected(experiment: str, model: str) -> Expected:
    """The model's own numbers, but for what the experiment is about and what it chose for this very model."""
    own = MODELS[model]
    if experiment == "smoke":
        own = replace(own, num_studies=80)
        return replace(own, learning_rate=5e-4, num_steps=45) if model == "tiny" else own
    if experiment == "own_data":
        own = replace(own, source="StudyTable")
        return replace(own, learning_rate=2e-4, num_steps=20, batch_size=4) if model == "tiny" else own
    if experiment == "arithmetic":
        return replace(own, source="Arithmetic")
    if experiment in ("mimic", "chexpert_plus"):
        source = {"mimic": "MimicCxr", "chexpert_plus": "ChexpertPlus"}[experiment]
        return replace(own, source=source, num_steps=None, num_passes=1)
    return replace(own, kl_coef=0.003) if experiment == "laboratory" and model in SIGHTED else own


def ordered(*overrides: str) -> DictConfig:
    return composed(*in_order(overrides))


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def chosen(experiment: str, model: str) -> list[str]:
    needed = [*NEEDED.get(experiment, []), *NEEDED.get(model, [])]
    return [*([f"+experiment={experiment}"] if experiment else []), *([f"model={model}"] if model else []), *needed]


def built(*overrides: str) -> Experiment:
    """Everything that can be built of a config without weights and data."""
    config = ordered(*overrides)
    check_targets(config)
    check_words(config)
    experiment = read_experiment(config)
    check_precision(experiment)
    build(config.reward, "reward")
    build(config.labeler, "labeler")
    return experiment


def test_the_table_has_every_experiment_and_model() -> None:
    assert set(DEFAULT_MODELS) == {"", *options("experiment")}
    assert set(MODELS) == set(options("model"))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", DEFAULT_MODELS)
@pytest.mark.parametrize("model", ["", *MODELS])
def test_an_experiment_with_a_model(experiment: str, model: str) -> None:
    found = built(*chosen(experiment, model))
    assert Expected.of(found) == expected(experiment, model or DEFAULT_MODELS[experiment])
    assert found.run_name == (experiment or "orapo")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "model"),
    # What trains as sighted does is told apart by the laboratory alone.
    [(e, m) for m in OWN_SETTINGS for e in DEFAULT_MODELS if m not in SIGHTED[1:] or e == "laboratory"],
)
def test_an_experiment_with_a_model_and_a_row(experiment: str, model: str) -> None:
    """Every row with each experiment and with each model; with both together those that a pair may answer to."""
    is_alone = not experiment or model == DEFAULT_MODELS[experiment]
    for row in options("row") if is_alone else ROWS_FOR_PAIRS:
        if experiment.startswith("sft_then") and row.startswith("sft_then"):
            continue  # it would begin twice
        found = Expected.of(built(*chosen(experiment, model), f"+row={row}"))
        wanted = expected(experiment, model)
        if row == "orapo_400":
            wanted = replace(wanted, num_studies=400)
        if row in ("dapo", "gspo", "cispo"):
            wanted = replace(wanted, kl_coef=None)
        assert found == wanted, row


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [name for name in options("sweep") if name != "search"])
@pytest.mark.parametrize("experiment", ["", "laboratory", "mimic"])
def test_a_sweep_keeps_the_numbers_of_experiment_and_model(sweep: str, experiment: str) -> None:
    found = built(f"+sweep={sweep}", *chosen(experiment, ""))
    assert found.run_name == sweep
    assert Expected.of(found) == expected(experiment, DEFAULT_MODELS[experiment])


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_search_looks_around_the_models_own_learning_rate(model: str) -> None:
    config = composed(*chosen("", model), "+sweep=search", with_hydra=True)
    low, high = config.hydra.sweeper.space["training.learning_rate"]["log"]
    assert low < MODELS[model].learning_rate < high
    assert high / low == pytest.approx(9, rel=1e-4)


def test_the_order_of_the_command_line_does_not_decide() -> None:
    for overrides in (["+row=orapo_400", "+experiment=smoke"], ["+experiment=smoke", "+row=orapo_400"]):
        assert read_experiment(ordered(*overrides)).data.subset["num_studies"] == 400
    typed = ["-m", "+row=a", "seed=1", "+sweep=b", "+experiment=c", "model=d"]
    assert in_order(typed) == ["-m", "+experiment=c", "seed=1", "+sweep=b", "+row=a", "model=d"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "model"),
    [
        *((name, "") for name in DEFAULT_MODELS),
        *(("", name) for name in MODELS),
        ("mimic", "tiny"),
        ("smoke", "checkpoint"),
    ],
)
@pytest.mark.parametrize("length", ["training.num_steps=7", "training.num_passes=2"])
def test_one_length_takes_the_place_of_the_other(experiment: str, model: str, length: str) -> None:
    training = read_experiment(ordered(*chosen(experiment, model), length)).training
    wanted = (7, None) if length == "training.num_steps=7" else (None, 2)
    assert (training.num_steps, training.num_passes) == wanted


@pytest.mark.parametrize("model", ["tiny", "qwen2_5_vl_3b"])
def test_two_lengths_or_none_are_refused(model: str) -> None:
    for one, other in (("7", "2"), ("null", "null")):
        lengths = [f"training.num_steps={one}", f"training.num_passes={other}"]
        with pytest.raises(SettingError, match=r"training.num_steps is .* exactly one of them must be given"):
            read_experiment(ordered(f"model={model}", *lengths))


@pytest.mark.parametrize("experiment", ["mimic", "chexpert_plus"])
def test_the_papers_setting(experiment: str) -> None:
    found = built(f"+experiment={experiment}")
    objective = build(found.objective, "objective")
    assert (objective.alpha, objective.w_min, objective.w_max, objective.gamma) == (0.5, 0.05, 0.15, 2.0)
    assert found.model.lora is not None
    assert found.model.trainable == "language"
    assert found.model.gradient_checkpointing == found.training.studies_per_micro_batch == "auto"
    assert found.training.final_lr_fraction == 1
    assert found.training.warmup_steps == 0


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model=qwen2_5_vl_3b_full", "trainer.precision=32-true"], "add trainer.precision=bf16-mixed"),
        (["model=checkpoint", "model.path=folder", "trainer.precision=32"], "all weights of folder train; add trainer"),
        (["model=qwen2_5_vl_3b_full", "model.dtype=bfloat16"], "add model.dtype=float32 trainer.precision=bf16-mixed"),
        (["model=qwen2_5_vl_3b", "model.lora=null"], "add model.dtype=float32 trainer.precision=bf16-mixed"),
        (["model=qwen2_5_vl_3b_full", "trainer.precision=bf16-true"], "trainer.precision 'bf16-true', and all weights"),
    ],
)
def test_weights_that_would_train_in_vain_or_at_many_times_the_cost_are_refused(
    overrides: list[str], told: str
) -> None:
    with pytest.raises(SettingError, match=r"^[^\n]*$") as raised:
        check_precision(read_experiment(ordered(*overrides)))
    assert told in str(raised.value)


def test_a_cpu_and_the_embedded_policies_may_train_in_float32() -> None:
    cpu = ["trainer.precision=32-true", "trainer.accelerator=cpu"]
    check_precision(read_experiment(ordered("model=qwen2_5_vl_3b_full", *cpu)))
    for model in SHIPPED:
        check_precision(read_experiment(ordered(f"model={model}", "trainer.accelerator=gpu")))


def test_a_new_model_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    content = (
        "# @package _global_\ndefaults: [qwen2_5_vl_3b, _self_]\nmodel: {path: folder}\nrollout: {per_study: 16}\n"
    )
    (tmp_path / "model" / "mine.yaml").write_text(content)
    mine = replace(MODELS["qwen2_5_vl_3b"], path="folder", per_study=16)
    search = f"hydra.searchpath=[file://{tmp_path}]"
    for groups in ([], ["trainer=ddp", "rollout=vllm", "rollout.server.api_base=http://127.0.0.1:1/v1"]):
        assert Expected.of(built("model=mine", search, *groups)) == mine
    assert Expected.of(built("+experiment=smoke", "model=mine", search)) == replace(mine, num_studies=80)


def test_rich_reports_leave_the_laboratory_what_it_is_but_for_their_length() -> None:
    parts = ("+experiment=laboratory", "model=rich", "data=phantoms_rich")
    assert Expected.of(built(*reversed(parts))) == expected("laboratory", "rich")
    rich, plain = ordered(*parts), ordered("+experiment=laboratory")
    assert (rich.data.source.wording, plain.data.source.wording) == ("rich", "plain")
    assert (rich.rollout.max_new_tokens, plain.rollout.max_new_tokens) == (64, 48)
    for key in ("data.source.wording", "data.max_report_tokens"):
        OmegaConf.update(rich, key, OmegaConf.select(plain, key))
    for section in ("data", "rollout", "training", "objective", "reward"):
        assert (
            OmegaConf.to_container(rich, resolve=True)[section] == OmegaConf.to_container(plain, resolve=True)[section]
        )


def test_our_keys_are_none_of_the_words_that_are_refused() -> None:
    words = {word for known in WORDS for word in known}
    leaves = {
        key
        for file in CONF.rglob("*.yaml")
        if "hydra" not in file.parts
        for key in leaf_keys(yaml.safe_load(file.read_text()))
    }
    assert not leaves & words
    assert all(word == word.lower() for word in words)


def leaf_keys(content: object) -> set[str]:
    if not isinstance(content, dict):
        return set()
    return {str(key) for key in content} | {key for value in content.values() for key in leaf_keys(value)}


def test_every_word_means_a_key_that_there_is() -> None:
    keys = set()
    for name, lora in (("config", ["model=qwen2_5_vl_3b"]), ("evaluate", []), ("generate", ["image=x"])):
        config = composed(*lora, name=name)
        keys |= {key for meant in WORDS.values() for key in meant if OmegaConf.select(config, key) is not None}
    assert keys == {key for meant in WORDS.values() for key in meant}


def test_the_saved_config_of_the_default_run_is_the_golden_one(tmp_path: Path) -> None:
    """A changed default is seen here. Renew the file on purpose: the message shows how."""
    OmegaConf.save(ordered(), tmp_path / "config.yaml", resolve=True)
    found = yaml.safe_load((tmp_path / "config.yaml").read_text())
    renew = f"cp {tmp_path / 'config.yaml'} {GOLDEN.relative_to(ROOT)}"
    assert found == yaml.safe_load(GOLDEN.read_text()), renew


def test_the_golden_config_of_a_finished_run_loads() -> None:
    config = OmegaConf.load(GOLDEN)
    assert isinstance(config, DictConfig)
    assert Expected.of(read_experiment(config)) == MODELS["tiny"]


@pytest.mark.parametrize(
    ("kind", "term"), [("fact_score.FactScoreReward", "facts"), ("accuracy.AccuracyReward", "accuracy")]
)
def test_the_config_of_an_older_run_loads(kind: str, term: str, tmp_path: Path) -> None:
    config = OmegaConf.load(GOLDEN)
    assert isinstance(config, DictConfig)
    config.reward = {"_target_": f"orapo.reward.{kind}", "uncertain_is_positive": True}
    del config.model["trainable"]
    config.model.train_vision = False
    OmegaConf.save(config, tmp_path / "config.yaml")
    experiment = read_experiment(read_saved(tmp_path / "config.yaml"))
    assert experiment.model.trainable == "language"
    reward = build_reward(experiment, Ranks())
    assert isinstance(reward, WeightedReward)
    assert reward.weights == {term: 1.0}
    assert reward.facts.uncertain_is_positive


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mimic_cxr.source.MimicCxrSource", "MimicCxr"),
        ("chexpert_plus.source.ChexpertPlusSource", "ChexpertPlus"),
        ("gold_labels.source.GoldSource", "ChexpertGold"),
    ],
)
def test_the_data_of_an_older_run_load(old: str, new: str, tmp_path: Path) -> None:
    config = OmegaConf.load(GOLDEN)
    assert isinstance(config, DictConfig)
    config.data.source = {"_target_": f"orapo.data.{old}", "root": "folder", "sections": "findings_and_impression"}
    OmegaConf.save(config, tmp_path / "config.yaml")
    experiment = read_experiment(read_saved(tmp_path / "config.yaml"))
    assert experiment.data.source["_target_"].endswith(f".{new}")
    assert experiment.data.source["target"] == experiment.data.target == "both"


def test_an_older_run_with_a_language_model_loads(tmp_path: Path) -> None:
    config = OmegaConf.load(GOLDEN)
    assert isinstance(config, DictConfig)
    llm = {"_target_": "orapo.reward.llm.reward.fact_score_llm", "model": "openai/judge", "cache": "off"}
    config.reward = {
        **llm,
        "api_base": "http://127.0.0.1:9/v1",
        "max_cost": 3.0,
        "terms": {"facts": 1.0, "length": 1.0},
    }
    OmegaConf.save(config, tmp_path / "config.yaml")
    reward = build_reward(read_experiment(read_saved(tmp_path / "config.yaml")), Ranks())
    assert isinstance(reward, WeightedReward)
    assert isinstance(reward.judge, LlmJudge)
    assert reward.judge.client.budget.max_cost_usd == 3.0
    assert reward.weights == {"facts": 0.5, "length": 0.5}
