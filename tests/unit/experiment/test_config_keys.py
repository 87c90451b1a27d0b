"""Keys and targets that a command line or a config file gets wrong: one line that says what is meant."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from orapo.errors import SettingError
from orapo.experiment import config_tree, targets
from orapo.experiment.command_line import run_command
from orapo.experiment.config_keys import check_arguments, in_order, nearest
from orapo.experiment.config_tree import check_targets, read_target, trust, without_training
from orapo.experiment.targets import build

CONF = Path(__file__).parents[3] / "conf"

Told = Callable[..., str]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Told:
    """What a command whose task does nothing says of its arguments: a line, or "" where they are right."""

    def tell(*arguments: str, config: str = "config") -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        with suppress(SystemExit):
            run_command(lambda _: None, config)
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) <= 1
        return "".join(lines)

    return tell


def test_what_is_refused_before_the_task_stands_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "+lr=1"])
    with pytest.raises(SystemExit):
        run_command(lambda _: None, "evaluate", tells_hydra=False)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: lr is not a setting"), "without Hydra's own line above it"


def test_what_is_refused_steers_no_terminal(told: Told) -> None:
    assert told("data='a\x1b[2Jb'").startswith(r"error: data=a\x1b[2Jb is no choice; allowed: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["rollout.K=4"], "rollout.K is not a setting (did you mean rollout.per_study?)"),
        (["K=4"], "K is not a setting (did you mean rollout.per_study?)"),
        (["+K=4"], "K is not a setting (did you mean rollout.per_study?)"),
        (["-m", "rollout.G=4,8"], "rollout.G is not a setting (did you mean rollout.per_study?)"),
        (["rollout.group_size=4"], "(did you mean rollout.per_study?)"),
        (["training.lr=1"], "(did you mean training.learning_rate?)"),
        (["+training.lr=1"], "(did you mean training.learning_rate?)"),
        (["objective.beta=1"], "(did you mean objective.policy_loss.kl_coef or objective.oracle_loss.dpo_beta?)"),
        (["reward.beta=1"], "(did you mean reward.f_beta?)"),
        (["objective.epsilon=1"], "(did you mean objective.policy_loss.clip_low or objective.policy_loss.clip_high?)"),
        (["training.epochs=1"], "(did you mean training.num_passes?)"),
        (["training.num_step=1"], "(did you mean training.num_steps?)"),
        (["learning_rate=1"], "(did you mean training.learning_rate?)"),
        (["objective.dpo_beta=1"], "(did you mean objective.oracle_loss.dpo_beta?)"),
        (["modle=tiny"], "(did you mean model?)"),
        (["~rollout.top_q"], "(did you mean rollout.top_p?)"),
        # The keys that there are depend on the groups chosen.
        (["model=qwen2_5_vl_3b", "model.lora.rnak=2"], "(did you mean model.lora.rank?)"),
        (["objective/oracle_loss=kto", "objective.oracle_loss.kto_bet=2"], "objective.oracle_loss.kto_beta?)"),
        (["+sweep=search", "hydra.sweeper.n_trial=2"], "(did you mean hydra.sweeper.n_trials?)"),
        (
            ["model=qwen2_5_vl3b"],
            "model=qwen2_5_vl3b is no choice (did you mean model=qwen2_5_vl_3b?); allowed: arithmetic, ",
        ),
        (
            ["+experiment=lab"],
            "experiment=lab is no choice; allowed: arithmetic, chexpert_plus, followup, laboratory, mimic, own_data, ",
        ),
        (
            ["objective/oracle_loss=dpoo"],
            "objective/oracle_loss=dpoo is no choice (did you mean objective/oracle_loss=dpo?)",
        ),
        (["qqq=1"], "qqq is not a setting; every key"),
        (
            ["data=hf_dataset", "data.source.columns={report:findings}"],
            "what stands in data.source.columns is yours to add, with a plus: '+data.source.columns={report:findings}'",
        ),
        (["data=study_table", "data.source.columns.report=findings"], "a plus: '+data.source.columns.report=findings'"),
        (["reward.term_settings.no_repetition.num_words=3"], "'+reward.term_settings.no_repetition.num_words=3'"),
    ],
)
def test_a_key_that_there_is_not(arguments: list[str], meant: str, told: Told) -> None:
    assert meant in told(*arguments)


def test_a_word_of_the_field_in_a_users_file(told: Told, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "fast.yaml").write_text("# @package _global_\ntraining: {lr: 0.1}\n")
    line = told("--config-dir", str(tmp_path / "mine"), "+experiment=fast")
    assert "training.lr is not a setting (did you mean training.learning_rate?)" in line


def test_evaluate_and_generate_have_keys_of_their_own(told: Told) -> None:
    assert "(did you mean max_new_tokens?)" in told("max_tokens=3", config="evaluate")
    assert "(did you mean num_reports?)" in told("K=3", "image=x", config="generate")
    assert "training" not in told("lr=3", config="evaluate")


@pytest.mark.parametrize(
    ("argument", "config", "new"),
    [
        ("policy=api", "evaluate", "system=api"),
        ("policy.max_cost=5", "evaluate", "system.max_cost=5"),
        ("training=sighted", "config", "model=sighted"),
        ("training=mine", "config", "model=NAME"),
        ("rollout=qwen2_5_vl_3b", "config", "model=qwen2_5_vl_3b"),
        ("+experiment=[smoke,mimic]", "config", "-m +experiment=A,B"),
    ],
)
def test_a_name_that_has_moved_names_the_new_one(argument: str, config: str, new: str, told: Told) -> None:
    line = told(argument, config=config)
    assert argument in line
    assert line.endswith(new)


def test_several_keys_of_a_section_at_once(told: Told) -> None:
    assert told("training={num_steps:3,learning_rate:0.1}") == ""


def test_what_is_near() -> None:
    assert nearest("a.learning_rat", ["b", "a.learning_rate"]) == ["a.learning_rate"]
    assert nearest("zzz", ["a.learning_rate"]) == []
    assert nearest("lr", ["seed"]) == [], "a word means only what the command has"


TARGETS = [
    "subprocess.call",
    "os.system",
    "builtins.eval",
    "orapo_of_somebody.run",
    # Another module's function, by the name under which one of ours imports it.
    "orapo.experiment.processes.subprocess.call",
    "orapo.experiment.config_tree.get_object",
    "orapo.experiment.targets.build.__globals__.get",
    "orapo.experiment.processes",
    "${reward.other}",
    7,
]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_outside_orapo_is_refused(target: object) -> None:
    with pytest.raises(SettingError, match=r"x._target_ is .* only classes of orapo"):
        read_target(target, "x._target_")


@pytest.mark.parametrize(
    "content",
    [
        {"_target_": "os.system", "command": "true"},
        {"_target_": "orapo.labeler.Labeler", "part": {"_target_": "os.system"}},
        {"_target_": "orapo.labeler.Labeler", "parts": [{"deep": [{"_target_": "os.system"}]}]},
        {"_target_": "orapo.labeler.Labeler", "quirks": {"_target_": "os.system"}},
        {"_target_": "orapo.labeler.Labeler", "quirks": [{"_target_": "os.system"}]},
    ],
)
def test_a_target_is_found_wherever_it_stands(content: dict[str, object]) -> None:
    for check in (lambda: check_targets(content, "reward"), lambda: build(OmegaConf.create(content), "reward")):
        with pytest.raises(SettingError, match=r"reward\..*_target_ is 'os.system'|reward._target_ is 'os.system'"):
            check()


@pytest.mark.slow
def test_no_command_line_and_no_file_runs_a_shell(told: Told, tmp_path: Path) -> None:
    shell = "{_target_: os.system, command: 'touch was_here'}"
    assert "reward._target_ is 'os.system'" in told("reward._target_=os.system")
    assert "data.source.extra._target_ is 'os.system'" in told(f"+data.source.extra={shell.replace(chr(39), '')}")
    (tmp_path / "mine" / "reward").mkdir(parents=True)
    (tmp_path / "mine" / "reward" / "sent.yaml").write_text(f"a: [{shell}]\n")
    assert "reward.a.0._target_ is 'os.system'" in told("--config-dir", str(tmp_path / "mine"), "reward=sent")
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("orapo.experiment.config_tree.trust", {"package": "subprocess"}),
        ("orapo.data.source.write_left_out", {"left_out": [], "path": "was_here"}),
        ("orapo.foreign.RecordLines.__next__", {}),
        ("orapo.experiment.config_tree.read_target", {"name": "orapo.labeler.Labeler", "key": "x"}),
    ],
)
def test_a_config_calls_no_function_of_orapo(
    target: str, arguments: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = config_tree.trusted()
    for called in (build, targets.check):
        with pytest.raises(SettingError, match=r"model.min_pixels._target_ is .* only classes of orapo"):
            called(
                {"_target_": "orapo.policy.settings.ModelSettings", "min_pixels": {"_target_": target, **arguments}},
                "model",
            )
    assert config_tree.trusted() == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--experimental-rerun", "--experimental-rerun=x", "--exp"])
def test_hydra_reads_no_pickle(flag: str) -> None:
    with pytest.raises(SettingError, match="--experimental-rerun reads a pickle"):
        check_arguments([flag, "x"])


def test_a_program_can_trust_its_own_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_tree, "_trusted", {"orapo"})  # whatever other tests trust
    with pytest.raises(SettingError):
        read_target("tests.integration.distributed_twins.LocalAverage", "average._target_")
    trust("tests.integration.distributed_twins")
    assert read_target("tests.integration.distributed_twins.LocalAverage", "x").__name__ == "LocalAverage"
    with pytest.raises(SettingError):
        read_target("tests.integration.distributed_twins.os.kill", "x")


def test_a_command_that_does_not_train_keeps_only_what_it_takes_of_the_training() -> None:
    config = OmegaConf.create({"size": "${training.size}", "seed": 1, "training": {"size": 3}, "rollout": {}})
    assert isinstance(config, DictConfig)
    assert without_training(config, ["seed=2"]) == {"size": 3, "seed": 1}
    with pytest.raises(SettingError, match=r"training.size is a setting of train.py"):
        without_training(config, ["training.size=4"])


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("data.source.sections=findings", "data.target=findings"),
        ("data.source.sections=findings_and_impression", "data.target=both"),
        ("data.source.sections=impression,findings_and_impression", "data.target=impression,both"),
        ("data.source.views=all", "data.source.views=all"),
    ],
)
def test_a_key_that_has_moved_takes_its_place_of_today(typed: str, read: str) -> None:
    assert in_order([typed]) == [read]


@pytest.mark.parametrize(
    "argument", ["resume=", "resume=''", 'data.root=" "', "paths.logs=", "+model.path=", "hydra.run.dir="]
)
def test_a_key_without_a_value_leaves_no_file(told: Told, tmp_path: Path, argument: str) -> None:
    assert told(argument).startswith(f"error: {argument} has no value; give one or leave the key out")
    assert not list(tmp_path.iterdir())
