"""Shares of a batch, of the judge's limits and of the draws, for processes that train together."""

import os

import pytest
import torch
from tests.configs import composed

from orapo.data.loader import StreamBatches
from orapo.data.shard import Shard
from orapo.errors import NonFiniteError, SettingError
from orapo.experiment.processes import adopt_slurm, judge_share, num_processes, own_rank
from orapo.training.distributed import RankFailed, Ranks, sampling_seed, share_of, summed
from orapo.training.strategies import buckets


@pytest.mark.parametrize(("total", "size"), [(16, 2), (5, 2), (7, 3), (3, 5), (1, 2)])
def test_shares_are_all_places_once_and_in_order(total: int, size: int) -> None:
    shares = [Shard(rank, size).of(total) for rank in range(size)]
    assert [place for share in shares for place in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert Shard(0, size).sizes(total) == [len(share) for share in shares]


def test_the_batches_of_all_processes_are_those_of_one() -> None:
    whole = list(StreamBatches(10, 5, 4, seed=3))
    first, second = (list(StreamBatches(10, 5, 4, seed=3, shard=Shard(rank, 2))) for rank in (0, 1))
    assert [a + b for a, b in zip(first, second, strict=True)] == whole
    assert [len(batch) for batch in first] == [2] * 4


@pytest.mark.parametrize(
    ("accelerator", "devices", "expected"),
    [("cpu", "auto", 1), ("cpu", 2, 2), ("gpu", [0, 3], 2), ("gpu", "0,1,2", 3), ("gpu", "4", 4)],
)
def test_one_process_for_each_device(accelerator: str, devices: object, expected: int) -> None:
    assert num_processes(accelerator, devices) == expected


@pytest.mark.parametrize("devices", [0, [], True])
def test_no_device_is_refused(devices: object) -> None:
    with pytest.raises(SettingError, match=r"trainer\.devices is .*; it must be a number, a list of devices, or auto"):
        num_processes("gpu", devices)


def test_the_judges_limits_are_divided() -> None:
    limits = ["reward.max_cost=10", "reward.requests_per_minute=100", "reward.max_concurrent=16"]
    config = composed("reward=fact_score_llm", *limits, "+reward.term_settings.asked.max_concurrent=8").reward
    shared = judge_share(config, 4)
    assert shared.term_settings.asked.max_concurrent == 2, "of a term with limits of its own"
    assert (shared.max_cost, shared.requests_per_minute, shared.max_concurrent) == (2.5, 25, 4)
    assert shared.tokens_per_minute is None
    assert judge_share(config, 1) == config
    assert config.max_cost == 10


def test_what_the_judges_spent_is_added_up_and_shared_again() -> None:
    total = summed([{"spent_usd": 1.0}, {"spent_usd": 2.0}])
    assert total == {"spent_usd": 3.0}
    assert share_of(total, 2) == {"spent_usd": 1.5}
    assert share_of(summed([{"answers": [1]}]), 1) == {"answers": [1]}
    assert summed([{}, {}]) == {}


def test_draws_differ_by_run_step_and_place() -> None:
    seeds = {sampling_seed(run, step, place) for run in range(3) for step in range(20) for place in range(16)}
    assert len(seeds) == 3 * 20 * 16
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_gradients_are_grouped_by_type_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orapo.training.strategies.BUCKET_BYTES", 40)
    weights = [torch.zeros(size, dtype=dtype) for size, dtype in ((4, torch.float32),) * 3 + ((4, torch.bfloat16),)]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    assert [[len(gradient) for gradient in group] for group in buckets(weights)] == [[4, 4], [4], [4]]


def test_alone_nothing_is_exchanged() -> None:
    ranks = Ranks()
    assert ranks.all_gather(lambda: 3) == [3]
    with pytest.raises(NonFiniteError):
        ranks.all_or_raise(lambda: (_ for _ in ()).throw(NonFiniteError("x")))
    ranks.abort(RankFailed("x"))
    assert not ranks.has_aborted


def test_slurm_is_read_as_torchrun_would_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    assert own_rank() == 0
    slurm = {"STEP_NUM_TASKS": "16", "PROCID": "11", "LOCALID": "3", "NODEID": "1", "NODELIST": "gpu[07-08]"}
    for name, value in {**slurm, "JOB_ID": "1234567", "NTASKS": "16"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert own_rank() == 11
    with pytest.raises(SettingError, match="--ntasks-per-node=16"):
        adopt_slurm()
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "8")
    adopt_slurm()
    told = [os.environ[name] for name in ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR")]
    assert told == ["11", "3", "1", "16", "gpu07"]
