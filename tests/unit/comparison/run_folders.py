"""Run folders as train.py leaves them, without training: the files' real writers, numbers chosen by the test."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tests.unit.evaluation.scores import EXAMINER

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.comparison.run_state import RunState, StateRecord
from orapo.evaluation.report_pairs import ReportPair, write_report_pairs

METRIC_NAMES = ("step", "reward", "zero_reward_rate", "mixing_weight", "loss", "judge_calls")
"""Some columns of metrics.csv; readers go by name."""


def config(**changes: Any) -> dict[str, Any]:
    """A saved config with the sections that matter; ``objective__alpha=0.3`` changes a nested key."""
    content: dict[str, Any] = {
        "model": {"_target_": "orapo.policy.settings.ModelSettings", "dtype": "float32", "lora": None},
        "data": {
            "source": {"_target_": "orapo.data.phantoms.source.PhantomSource", "seed": 0},
            "subset": {"_target_": "orapo.data.balanced_subset.BalancedSubset", "num_studies": 80, "seed": 0},
            "uncertain_is_positive": False,
        },
        "objective": {"_target_": "orapo.objective.orapo.OrapoObjective", "alpha": 0.5, "w_max": 0.15, "gamma": 2.0},
        "rollout": {"per_study": 4},
        "training": {"num_steps": 60, "learning_rate": 0.0005},
        "logger": {"wandb": None},
        "callbacks": {"checkpoint_every_steps": 50},
        "paths": {"logs": "logs", "sweeps": "sweeps"},
        "run_name": "orapo",
        "seed": 0,
        "resume": None,
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        section = content
        for part in path:
            section = section[part]
        section[last] = value
    # As conf/data/*.yaml ties it: resolved in the saved file.
    content["data"]["subset"]["seed"] = changes.get("data__subset__seed", content["seed"])
    return content


def pairs(called: np.ndarray, true: np.ndarray) -> tuple[ReportPair, ...]:
    """Test studies from two [N, 14] matrices; the texts are made up and empty of meaning."""

    def states(row: np.ndarray) -> dict[Any, LabelState]:
        return {
            o: LabelState.POSITIVE if mark else LabelState.UNMENTIONED
            for o, mark in zip(OBSERVATIONS, row, strict=True)
        }

    return tuple(
        ReportPair(f"s{number}", "Made-up oracle words.", "Made-up policy words.", states(t), states(c))
        for number, (c, t) in enumerate(zip(called, true, strict=True))
    )


@dataclass
class FakeRun:
    """What ``write_run`` writes; see its fields' defaults for a plain finished run."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    called: np.ndarray | None = None
    true: np.ndarray | None = None
    steps: int = 60
    rewards: Sequence[float] | None = None
    state: RunState | None = RunState.FINISHED
    reason: str = ""
    overrides: tuple[str, ...] = ()
    has_observations: bool = True
    validations: Sequence[tuple[int, float, float]] = ((0, 0.05, 0.05), (30, 0.1, 0.06), (60, 0.2, 0.07))


def write_run(folder: Path, run: FakeRun) -> Path:
    """Writes the folder; scores, reports and summary only for a finished run."""
    folder.mkdir(parents=True)
    content = config(**run.settings)
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    write_metrics(folder / "metrics.csv", run)
    names = [f"{observation.value}/f1" for observation in OBSERVATIONS] if run.has_observations else []
    columns = ["step,macro_precision,macro_recall,macro_f1,micro_f1,shuffled_macro_f1,seconds_per_study", *names]
    rows = [",".join(columns) + "\n"]
    rows += [
        ",".join([f"{step},0.1,0.1,{own:.8g},0.1,{other:.8g},0.01", *[f"{own:.8g}"] * len(names)]) + "\n"
        for step, own, other in run.validations
        if step <= run.steps
    ]
    (folder / "validation.csv").write_text("".join(rows))
    if run.state is not None:
        StateRecord.of_this_process(run.state, run.overrides, run.reason).write(folder)
    if run.state in (RunState.FINISHED, None) and run.called is not None and run.true is not None:
        tested = pairs(run.called, run.true)
        write_report_pairs(folder / "test_reports.jsonl", tested)
        (folder / "summary.json").write_text(json.dumps(summary(tested, content, run.steps), indent=2))
    return folder


def write_metrics(path: Path, run: FakeRun) -> None:
    rewards = run.rewards if run.rewards is not None else [0.1 + 0.002 * step for step in range(run.steps)]
    lines = [",".join(METRIC_NAMES)]
    lines += [
        f"{step},{r:.8g},{1 - r:.8g},{0.05 + 0.1 * (1 - r):.8g},0.1," for step, r in enumerate(rewards[: run.steps], 1)
    ]
    path.write_text("\n".join(lines) + "\n")


def summary(tested: Sequence[ReportPair], content: Mapping[str, Any], steps: int) -> dict[str, Any]:
    system = EXAMINER.scored("", tuple(tested)).summary("uncertain_not_positive")
    return {
        "run_name": content["run_name"],
        "seed": content["seed"],
        "base": system,
        "trained": system,
        "shuffled_images": None,
        "always_positive": system["clinical"],
        "counts": {"test_studies": len(tested), "training_steps": steps},
        "sortable": {"test/macro_f1": system["clinical"]["macro"]["f1"], "test/shuffled_macro_f1": math.nan},
    }


def marks(seed: int, num_studies: int, quality: float, truth_seed: int = 99) -> tuple[np.ndarray, np.ndarray]:
    """Reports that call each present observation with probability ``quality``: [N, 14] called and true."""
    true = np.random.default_rng(truth_seed).random((num_studies, len(OBSERVATIONS))) < 0.2
    noise = np.random.default_rng(seed).random(true.shape)
    return np.where(true, noise < quality, noise < 0.05), true
