"""How fast and how right the language-model judge is beside a provider that fails.

200 reports, 60 of them different, are judged through litellm and HTTP by a server on this machine that answers like the
offline judge: once without a fault and once with them. The bound on the wall time is calls / concurrency x latency.

Usage: python benchmarks/judge.py --fault-rate 0.3 --json FILE
"""

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from judge_server import made_up_reports

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates
from orapo.remote.cache import AnswerCache
from orapo.remote.retry import RetryPolicy
from orapo.reward import FactScoreReward
from orapo.reward.llm.client import LlmClient
from orapo.reward.llm.endpoint import Endpoint
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.llm.limits import LimitSettings
from orapo.reward.llm.retrying_client import Usage

SERVER = Path(__file__).with_name("judge_server.py")


@dataclass(frozen=True)
class Measured:
    """One run: what it gave, what it took, and what the server saw."""

    rewards: list[float]
    usage: Usage
    seconds: float
    cpu_seconds: float
    second_hits: int
    second_calls: int
    server_calls: list[tuple[str, str, str | None]]


def run(fault_rate: float, reports: list[str], labels: list[LabelStates], arguments: argparse.Namespace) -> Measured:
    """Judges the reports with an empty cache, and once more with the full one."""
    settings = {
        "fault_rate": fault_rate,
        "latency_seconds": arguments.latency,
        "slow_seconds": 10 * arguments.latency,
        "seed": arguments.seed,
        # HTTP knows whole seconds only; a wait far above the latency would be all that's measured.
        "retry_after": "0.2",
    }
    server = subprocess.Popen(
        [sys.executable, str(SERVER), json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    port = int(server.stdout.readline())
    with tempfile.TemporaryDirectory() as folder:
        cache = AnswerCache(Path(folder, "answers.sqlite"))
        client = LlmClient(
            Endpoint("openai/judge", f"http://127.0.0.1:{port}/v1", timeout_seconds=2 * arguments.latency),
            cache,
            limits=LimitSettings(max_concurrent=arguments.concurrency),
            retry=RetryPolicy(max_tries=12, first_delay_seconds=arguments.latency / 4, max_delay_seconds=2.0),
        )
        reward = FactScoreReward(LlmJudge(client))
        start, start_cpu = time.perf_counter(), time.process_time()
        rewards = [breakdown.total for breakdown in reward.score(reports, labels)]
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
        usage = client.usage
        again = [breakdown.total for breakdown in reward.score(reports, labels)]
        assert again == rewards
        second = client.usage
        cache.close()
    output, _ = server.communicate()
    return Measured(
        rewards,
        usage,
        seconds,
        cpu_seconds,
        second.cache_hits - usage.cache_hits,
        second.calls - usage.calls,
        [(stage, subject, fault) for stage, subject, fault in json.loads(output)],
    )


def draw_labels(count: int, seed: int) -> list[LabelStates]:
    """Random label states, each observation present in one study of four."""
    draw = random.Random(seed)
    states = [LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN, LabelState.UNMENTIONED]
    return [{observation: draw.choice(states) for observation in OBSERVATIONS} for _ in range(count)]


def main() -> None:
    """Runs both, prints the table, and writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault-rate", type=float, default=0.3, help="part of all calls that fail, 0 to below 1")
    parser.add_argument("--reports", type=int, default=200)
    parser.add_argument("--distinct", type=int, default=60)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds that the server takes for an answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    arguments = parser.parse_args()

    distinct = made_up_reports(arguments.distinct, arguments.seed)
    draw = random.Random(arguments.seed)
    reports = distinct + draw.choices(distinct, k=arguments.reports - arguments.distinct)
    draw.shuffle(reports)
    labels = draw_labels(len(reports), arguments.seed)

    _warm_up(arguments)
    clean = run(0.0, reports, labels, arguments)
    faulty = run(arguments.fault_rate, reports, labels, arguments)
    numbers = _numbers(clean, faulty, arguments)
    _print_table(clean, faulty, arguments)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(numbers, indent=2) + "\n")


def _warm_up(arguments: argparse.Namespace) -> None:
    """One report of its own, before anything is measured: litellm takes seconds to import, also in its first call."""
    start = time.perf_counter()
    run(0.0, ["No pleural effusion."], draw_labels(1, arguments.seed), arguments)
    print(f"importing litellm, first two calls: {time.perf_counter() - start:.1f} s, not counted below\n")


def _bound(measured: Measured, arguments: argparse.Namespace) -> float:
    return math.ceil(measured.usage.calls / arguments.concurrency) * arguments.latency


def _numbers(clean: Measured, faulty: Measured, arguments: argparse.Namespace) -> dict[str, object]:
    return {
        "rewards_equal": faulty.rewards == clean.rewards,
        "rewards_above_zero": sum(reward > 0 for reward in clean.rewards),
        "paid_calls": faulty.usage.paid_calls,
        "distinct_calls": len({(stage, subject) for stage, subject, _ in faulty.server_calls}),
        "wall_over_bound": round(faulty.seconds / _bound(faulty, arguments), 3),
        "wall_over_bound_without_faults": round(clean.seconds / _bound(clean, arguments), 3),
        "calls": faulty.usage.calls,
        "failed_calls": sum(fault is not None for _, _, fault in faulty.server_calls),
        "cpu_milliseconds_per_call": round(1000 * faulty.cpu_seconds / faulty.usage.calls, 1),
        "fault_rate": arguments.fault_rate,
        "concurrency": arguments.concurrency,
        "latency_seconds": arguments.latency,
    }


def _print_table(clean: Measured, faulty: Measured, arguments: argparse.Namespace) -> None:
    print(f"| {arguments.reports} reports, {arguments.distinct} different | no faults | {arguments.fault_rate:.0%} |")
    print("|---|---|---|")
    rows = {
        "calls": lambda run: run.usage.calls,
        "calls paid for (valid answers)": lambda run: run.usage.paid_calls,
        "different questions": lambda run: len({(stage, subject) for stage, subject, _ in run.server_calls}),
        "reports not judged twice": lambda run: run.usage.duplicates,
        "cache hits, first time": lambda run: run.usage.cache_hits,
        "cache hits, second time": lambda run: run.second_hits,
        "calls, second time": lambda run: run.second_calls,
        "wall time, s": lambda run: f"{run.seconds:.2f}",
        "bound: calls / concurrency x latency, s": lambda run: f"{_bound(run, arguments):.2f}",
        "wall time / bound": lambda run: f"{run.seconds / _bound(run, arguments):.2f}",
        "CPU per call, ms": lambda run: f"{1000 * run.cpu_seconds / run.usage.calls:.1f}",
    }
    for name, value in rows.items():
        print(f"| {name} | {value(clean)} | {value(faulty)} |")
    faults = Counter(fault for _, _, fault in faulty.server_calls if fault is not None)
    print("\nfaults:", ", ".join(f"{fault} {count}" for fault, count in faults.most_common()))
    print("rewards equal to those without faults:", faulty.rewards == clean.rewards)


if __name__ == "__main__":
    main()
