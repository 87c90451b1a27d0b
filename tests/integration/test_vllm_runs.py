"""Whole training runs whose rollouts come from a server over HTTP, which samples by the adapter that it was sent."""

import csv
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from tests.configs import composed
from tests.vllm_server import StandInServer

from orapo.errors import RunPaused, SettingError
from orapo.experiment.command_line import run_command
from orapo.experiment.config import read_experiment
from orapo.experiment.run import train
from orapo.experiment.train_command import saved_config, train_command
from orapo.policy.settings import LoraSettings, ModelSettings
from orapo.policy.tiny import base_folder
from orapo.prompt import DEFAULT_INSTRUCTION

pytestmark = pytest.mark.slow

LORA = [
    "model.lora={_target_: orapo.policy.settings.LoraSettings, rank: 4, alpha: 8}",
    "model.trainable=language",
]
SMALL = [
    "rollout=vllm",
    *LORA,
    "data.source.num_train=60",
    "data.source.num_validate=4",
    "data.source.num_test=4",
    "data.subset.num_studies=10",
    "data.max_report_tokens=24",
    "rollout.per_study=4",
    "rollout.server.pause_limit_seconds=0.5",
    "training.batch_size=4",
    "training.num_steps=3",
    "training.learning_rate=0.03",  # an adapter that moves visibly in every step
    "training.validate_every_steps=2",
    "callbacks.rollouts_every_steps=1",
    "callbacks.rollouts_studies=4",
    "callbacks.checkpoint_every_steps=1",
    "trainer.accelerator=cpu",
]


def run_config(server: StandInServer, *overrides: str) -> DictConfig:
    return composed(*SMALL, f"rollout.server.api_base={server.api_base}", *overrides)


def run_in(folder: Path, config: DictConfig) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    train(config, folder)
    return folder


def rows(folder: Path, name: str = "metrics.csv") -> list[dict[str, str]]:
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


def gaps(folder: Path) -> list[float]:
    return [float(row["rollout_logp_gap"] or "nan") for row in rows(folder)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])


def assert_same_run(one: Path, other: Path) -> None:
    assert [row["reward"] for row in rows(one)] == [row["reward"] for row in rows(other)]
    assert (one / "rollouts.jsonl").read_bytes() == (other / "rollouts.jsonl").read_bytes()
    timeless = [
        [
            {key: value for key, value in row.items() if key != "seconds_per_study"}
            for row in rows(each, "validation.csv")
        ]
        for each in (one, other)
    ]
    assert timeless[0] == timeless[1]
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def stand_in() -> StandInServer:
    lora = LoraSettings(rank=4, alpha=8)
    return StandInServer(
        ModelSettings(base_folder(), DEFAULT_INSTRUCTION, lora=lora, trainable="language"), base_folder()
    )


@pytest.fixture
def server() -> Iterator[StandInServer]:
    with stand_in() as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StandInServer]:
    """A whole run, and its server with what it was asked."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with stand_in() as server:
        return run_in(folder, run_config(server)), server


def test_a_run_samples_from_its_current_adapter(undisturbed: tuple[Path, StandInServer]) -> None:
    folder, server = undisturbed
    assert len(gaps(folder)) == 3
    assert max(gaps(folder)) < 1e-4
    names = list(dict.fromkeys(body["model"] for body in server.requests))
    assert len(names) == 4  # the adapter before each of the three steps, and at the end
    assert server.log.count("POST /v1/load_lora_adapter") == 4 + 1  # and the question whether it takes any
    assert not server.loaded
    assert not list((folder / "adapters").iterdir())
    assert (folder / "model" / "adapter_model.safetensors").is_file()


def test_a_server_that_ignores_the_adapter_shows_in_the_metrics(server: StandInServer, tmp_path: Path) -> None:
    server.ignores_reload = True
    short = ("training.num_steps=2", "training.validate_every_steps=null", "data.max_test_studies=1")
    folder = run_in(tmp_path, run_config(server, "rollout.server.max_logp_gap=null", *short))
    assert gaps(folder)[0] < 1e-4  # an adapter that has not been trained does nothing
    assert gaps(folder)[1] > 1e-3


def test_an_outage_in_a_step_pauses_the_run_and_it_goes_on_where_it_was(
    undisturbed: tuple[Path, StandInServer], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orapo.training.module import OrapoModule

    step = OrapoModule.training_step

    def fails_in_step_two(self: Any, batch: Any, batch_index: int) -> None:
        server.status = 503 if batch_index == 1 else 0
        step(self, batch, batch_index)

    monkeypatch.setattr(OrapoModule, "training_step", fails_in_step_two)
    folder = tmp_path / "run"
    with pytest.raises(RunPaused, match=r"the rollout server http://127.0.0.1:\d+/v1 gave no answer for \d+ s"):
        run_in(folder, run_config(server))
    assert len(rows(folder)) == 1
    monkeypatch.setattr(OrapoModule, "training_step", step)
    # It goes on with a server that was started anew, at another address.
    server.status = 0
    server.restart()
    server.__exit__(None, None, None)
    server.port = 0
    with server:
        run_in(folder, saved_config(folder, [f"resume={folder}", f"rollout.server.api_base={server.api_base}"]))
        assert_same_run(undisturbed[0], folder)


def test_an_outage_in_a_validation_goes_on_before_its_step(
    undisturbed: tuple[Path, StandInServer], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orapo.training.module import OrapoModule

    validate = OrapoModule.on_validation_epoch_start

    def fails_after_step_two(self: Any) -> None:
        server.status = 503 if self.trainer.fit_loop.epoch_loop.batch_progress.current.ready == 2 else 0
        validate(self)

    monkeypatch.setattr(OrapoModule, "on_validation_epoch_start", fails_after_step_two)
    folder = tmp_path / "run"
    with pytest.raises(RunPaused, match=r"gave no answer"):
        run_in(folder, run_config(server))
    assert [row["step"] for row in rows(folder)] == ["1", "2"]
    monkeypatch.setattr(OrapoModule, "on_validation_epoch_start", validate)
    server.status = 0
    run_in(folder, saved_config(folder, [f"resume={folder}"]))
    assert_same_run(undisturbed[0], folder)


def test_a_resumed_run_may_change_how_its_server_is_reached_only(undisturbed: tuple[Path, StandInServer]) -> None:
    folder, _ = undisturbed
    resumed = saved_config(folder, [f"resume={folder}", "rollout.server.adapter_folder=/shared"])
    assert resumed.rollout.server.adapter_folder == "/shared"
    with pytest.raises(SettingError, match=r"leave out rollout.server.logps=server"):
        saved_config(folder, [f"resume={folder}", "rollout.server.logps=server"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["objective.correction=mask", "rollout.server.logps=server"],
            r"correction is 'mask'; it is for rollout=vllm with",
        ),
        (
            ["objective.correction=mask", "rollout=local"],
            r"correction is 'mask'; it is for rollout=vllm with .*recomputed",
        ),
        (
            ["objective.correction=mask", "rollout.temperature=0.5"],
            r"temperature is 0.5 with objective.correction=mask",
        ),
        (["rollout.ahead=1", "rollout=local"], r"rollout.ahead is 1; it must be 0 without a server"),
        (["rollout.ahead=2"], r"rollout.ahead is 2"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides: list[str], message: str) -> None:
    small = [one for one in SMALL if not one.startswith("rollout")]
    server = [] if "rollout=local" in overrides else ["rollout=vllm", "rollout.server.api_base=http://127.0.0.1:9/v1"]
    config = composed(*small, *server, *overrides)
    with pytest.raises(SettingError, match=message):
        read_experiment(config)


@pytest.mark.parametrize(
    ("overrides", "code", "message"),
    [
        (["+rollout.server.port=3"], 1, "error: rollout.server.port is not a setting"),
        ([], 75, "paused: no vLLM server answers at rollout.server.api_base http://127.0.0.1:9/v1"),
    ],
)
def test_the_command_line_says_so_in_one_line(
    overrides: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    address = "rollout.server.api_base=http://127.0.0.1:9/v1"
    arguments = [*SMALL, address, *overrides, f"paths.logs={tmp_path}/logs"]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_command(train_command)
    assert stop.value.code == code
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith(("error:", "paused:"))]
    assert line.startswith(message)


AHEAD = ("rollout.ahead=1", "objective.correction=truncate", "rollout.server.max_logp_gap=null")


@pytest.fixture(scope="module")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run one step behind."""
    folder = tmp_path_factory.mktemp("ahead")
    with stand_in() as server:
        run_in(folder, run_config(server, *AHEAD))
    return folder


def test_one_step_behind_samples_from_the_weights_before_the_update(
    undisturbed: tuple[Path, StandInServer], ahead: Path
) -> None:
    first, second, third = gaps(ahead)
    assert first < 1e-4
    assert min(second, third) > 1e-3  # scored after an update of which their sampler knew nothing
    assert rows(ahead)[0]["reward"] == rows(undisturbed[0])[0]["reward"]
    sizes = [float(row["effective_sample_size"]) for row in rows(ahead)]
    assert sizes[0] == pytest.approx(1, abs=1e-4)
    assert max(sizes[1:]) < 1 - 1e-6


@pytest.mark.parametrize("error", [RunPaused("nobody judges"), RuntimeError("a crash")], ids=["pause", "crash"])
def test_one_step_behind_is_resumed_exactly(
    ahead: Path, server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The third step fails after its rollouts have come: it is taken back, or the checkpoint is that of the second."""
    from orapo.reward.weighted import WeightedReward
    from orapo.training.module import OrapoModule

    step, start = OrapoModule.training_step, WeightedReward.start
    under_way: list[int] = []

    def counted(self: Any, batch: Any, batch_index: int) -> None:
        under_way[:] = [batch_index]
        step(self, batch, batch_index)
        under_way.clear()

    def fails(self: Any, *arguments: Any) -> Any:
        if under_way == [2]:
            raise error
        return start(self, *arguments)

    monkeypatch.setattr(OrapoModule, "training_step", counted)
    monkeypatch.setattr(WeightedReward, "start", fails)
    folder = tmp_path / "run"
    with pytest.raises(type(error), match=str(error)):
        run_in(folder, run_config(server, *AHEAD))
    assert len(rows(folder)) == 2
    monkeypatch.undo()
    asked = len(server.requests)
    run_in(folder, saved_config(folder, [f"resume={folder}"]))
    assert_same_run(ahead, folder)
    training = [body for body in server.requests[asked:] if body["n"] > 1]
    assert not training  # the third step's rollouts stood in the checkpoint


def test_one_step_behind_takes_the_longer_of_sampling_and_update(
    server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sleep for most of their time: two busy cores change little."""
    from orapo.policy.vllm.rollouts import VllmRollouts
    from orapo.training.module import OrapoModule

    update, begin = OrapoModule.update, VllmRollouts.begin
    began: list[float] = []
    sampling: list[float] = []
    updating: list[float] = []

    def slow(self: Any, experience: Any) -> Any:
        began.append(time.perf_counter())
        time.sleep(server.seconds)
        losses = update(self, experience)
        updating.append(time.perf_counter() - began[-1])
        return losses

    def timed(self: Any, *arguments: Any) -> Any:
        start = time.perf_counter()
        begun = begin(self, *arguments)
        begun.add_done_callback(lambda _: sampling.append(time.perf_counter() - start))
        return begun

    monkeypatch.setattr(OrapoModule, "update", slow)
    monkeypatch.setattr(VllmRollouts, "begin", timed)
    server.seconds = 2.0
    small = ("training.num_steps=6", "training.validate_every_steps=null", "data.max_test_studies=1")
    small += ("rollout.per_study=2", "data.max_report_tokens=6", "callbacks.checkpoint_every_steps=100")
    run_in(tmp_path, run_config(server, *AHEAD, *small))
    step = median([later - earlier for earlier, later in pairwise(began[1:])])
    longest = max(median(sampling[1:]), median(updating[1:]))
    assert step / longest <= 1.15, (step, sampling, updating)
    # The twin: what a step takes that waits for one after the other.
    assert step < 0.75 * (median(sampling[1:]) + median(updating[1:]))
