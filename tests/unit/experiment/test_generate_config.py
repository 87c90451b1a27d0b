"""generate.py's arguments and config: paths as they are written, what model= names, a run's settings."""

import json
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from tests.configs import CONF, composed
from tests.conftest import noise_image

from orapo.errors import CheckpointError, DataError, SettingError
from orapo.experiment.evaluate_config import read_evaluation
from orapo.experiment.generate_command import with_paths_quoted
from orapo.experiment.generate_config import Generation, read_generation
from orapo.policy.tiny import base_folder


def read(*arguments: str) -> Generation:
    overrides = with_paths_quoted(arguments)
    return read_generation(composed(*overrides, name="generate"), overrides)


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "scan (1), it's [x]=2.png"
    noise_image(0, (40, 40)).save(path)
    return f"image={path}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a finished run leaves, as far as generating goes; its name is one of a sweep."""
    folder = tmp_path / "0_objective.alpha=0.3,seed=1"
    (folder / "model").mkdir(parents=True)
    config = composed(
        "model=qwen2_5_vl_3b",
        "model.path=base_of_the_run",
        "data=study_table",
        "data.csv=studies.csv",
        "data.root=images",
        "data.source.longest_side=300",
        "data.uncertain_is_positive=true",
        "trainer.precision=bf16-mixed",
        "trainer.accelerator=gpu",
        "training.eval_batch_size=3",
        "rollout.max_new_tokens=33",
    )
    OmegaConf.save(config, folder / "config.yaml", resolve=True)
    return folder


def test_paths_stay_as_they_are() -> None:
    for path in ("a (1).png", "it's [x]=2,3.png", "a b/c.png", "logs/orapo/2026-01-01_10-00-00", "12"):
        (override,) = with_paths_quoted([f"image={path}"])
        assert OverridesParser.create().parse_override(override).value() == path
    written = with_paths_quoted(
        ["image=[a.png,b.png]", "model=tiny", "model=tiny_2", "model.path=x", "out=null", "--help", "seed=1"]
    )
    assert written == [
        "image=[a.png,b.png]",
        "model=tiny",
        "checkpoint='tiny_2'",
        "model.path=x",
        "out=null",
        "--help",
        "seed=1",
    ]


@pytest.mark.parametrize(("trained", "trainable"), [(True, "all"), (False, "language")])
def test_a_run_of_before_says_what_trained_by_another_key(trained: bool, trainable: str, image: str, run: Path) -> None:
    file = run / "config.yaml"
    config = OmegaConf.load(file)
    config.model.lora = None
    config.model.train_vision = trained
    del config.model.trainable
    OmegaConf.save(config, file)
    assert read(image, f"model={run}").model.trainable == trainable


def test_a_saved_model_says_what_it_was_trained_with(image: str, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    file = folder / "orapo_model.json"
    saved = {
        "instruction": "Report.",
        "dtype": "bfloat16",
        "min_pixels": None,
        "max_pixels": 9000,
        "image_tiles": False,
    }
    file.write_text(json.dumps(saved))
    model = read(image, f"model={folder}").model
    assert {key: getattr(model, key) for key in saved} == saved
    assert model.context == (), "it was written before there was a context"
    file.write_text(json.dumps(saved | {"context": ["indication"]}))
    assert read(image, f"model={folder}").model.context == ("indication",)
    assert read(image, f"model={folder}", "prompt.context=[technique]").model.context == ("technique",)
    file.write_text(json.dumps(saved))
    evaluated = read_evaluation(composed(f"checkpoint={folder}", name="evaluate"), [f"checkpoint={folder}"]).model
    assert evaluated == model
    model = read(image, f"model={folder}", "model.dtype=float32").model
    assert (model.dtype, model.max_pixels) == ("float32", 9000)
    named = read(image, "model=qwen2_5_vl_3b", f"checkpoint={folder}").model
    assert named.max_pixels != 9000, "a model that is named brings its own"
    file.write_text('{"instruction": "Report."}')
    with pytest.raises(
        CheckpointError,
        match=r"orapo_model.json must hold instruction, context, dtype, min_pixels, max_pixels, image_t",
    ):
        read(image, f"model={folder}")


def test_an_adapter_after_a_first_stage_belongs_on_what_that_left(image: str, run: Path) -> None:
    config = OmegaConf.load(run / "config.yaml")
    config.first = {"training": {"num_steps": 2}}
    OmegaConf.save(config, run / "config.yaml")
    for command in (lambda: read(image, f"model={run}"), lambda: read(image, f"model={run}", "model.path=moved")):
        with pytest.raises(CheckpointError, match="first/merged is not there"):
            command()
    assert read(image, f"model={run}", "base=elsewhere").base == "elsewhere"
    merged = run / "first" / "merged"
    merged.mkdir(parents=True)
    assert read(image, f"model={run}").base == str(merged)
    (run / "subset.json").touch()
    evaluated = [f"run='{run}'"]
    assert read_evaluation(composed(*evaluated, name="evaluate"), evaluated).base == str(merged)


def test_the_default_is_the_embedded_policy_and_says_so(image: str) -> None:
    generation = read(image)
    assert generation.is_embedded
    assert generation.name == "the embedded policy"
    assert generation.model.path == base_folder()
    assert read(image, "checkpoint=tiny").model == read(image, "model=tiny").model == generation.model
    assert read(image, "checkpoint=tiny").is_embedded
    settings = generation.settings
    assert (settings.greedy.greedy, settings.greedy.per_study, settings.drawn) == (True, 1, None)
    assert settings.image == (image.removeprefix("image="),)


def test_a_run_answers_what_the_command_line_leaves_open(image: str, run: Path) -> None:
    generation = read(image, f"model={run}")
    settings = generation.settings
    assert (settings.max_new_tokens, settings.batch_size, settings.longest_side) == (33, 3, 300)
    assert (settings.uncertain_is_positive, settings.precision) == (True, "bf16-mixed")
    assert settings.accelerator == "auto", "the run's may not be here"
    assert generation.model.path == str(run / "model")
    assert generation.base == "base_of_the_run"
    assert generation.model.dtype == "bfloat16"
    assert generation.model.instruction.startswith("You are a radiologist.")
    assert generation.model.lora is None
    assert not generation.is_embedded
    above = read(image, f"model={run}", "max_new_tokens=9", "model.dtype=float32", "base=elsewhere", "batch_size=2")
    assert (above.settings.max_new_tokens, above.settings.batch_size) == (9, 2)
    assert (above.model.dtype, above.base) == ("float32", "elsewhere")


def test_a_checkpoint_takes_its_settings_from_the_group(image: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    generation = read(image, f"model={tmp_path}", "model=qwen2_5_vl_3b")
    assert generation.model.path == str(tmp_path)
    assert generation.model.dtype == "bfloat16"
    assert generation.model.lora is None
    assert not generation.is_embedded
    assert read(image, "model=owner/name").model.path == "owner/name"
    assert read(image, "model=qwen2_5_vl_3b").model.path == "Qwen/Qwen2.5-VL-3B-Instruct"


def test_drawn_reports_beside_the_greedy_one(image: str) -> None:
    drawn = read(image, "num_reports=4", "temperature=0.5", "top_p=0.9").settings.drawn
    assert drawn is not None
    assert (drawn.per_study, drawn.temperature, drawn.top_p, drawn.greedy) == (3, 0.5, 0.9, False)


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("format=xml", "format is 'xml'; it must be one of text, json"),
        ("report_per=patient", "report_per is 'patient'; it must be one of image, folder"),
        ("num_reports=0", "num_reports is 0"),
        ("temperature=0", "temperature is 0"),
        ("top_p=2", "top_p is 2"),
        ("batch_size=1.5", "batch_size is 1.5"),
        ("longest_side=1", "longest_side is 1"),
        ("min_new_tokens=300", "min_new_tokens is 300"),
        ("uncertain_is_positive=2", "uncertain_is_positive is 2"),
        ("+typo=1", "typo is not a setting"),
        ("out=no/such/folder.txt", "there is no folder no/such"),
        ("out=README.md", "out is 'README.md', which exists already"),
    ],
)
def test_a_bad_value_is_refused(argument: str, told: str, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONF.parent)
    with pytest.raises(SettingError, match=told):
        read(image, argument)


def test_what_is_not_there_is_refused(image: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="image must be given"):
        read()
    with pytest.raises(DataError, match="does not exist"):
        read("image=absent.png")
    with pytest.raises(SettingError, match="it must be a file, a folder, or a list"):
        read("image=[]")
    with pytest.raises(CheckpointError, match="model=absent does not exist"):
        read(image, "model=absent")
    with pytest.raises(CheckpointError, match=r"has no config.yaml, config.json or adapter_config.json"):
        read(image, f"model={tmp_path}")
    (run / "model").rmdir()
    with pytest.raises(CheckpointError, match=r"model does not exist"):
        read(image, f"model={run}")
