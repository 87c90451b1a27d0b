"""What the commands of ``orapo judge`` do with their arguments."""

import sys
from argparse import Namespace
from collections.abc import Sequence

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from orapo.chexpert import LabelStates
from orapo.errors import OrapoError, RunPaused, SettingError
from orapo.experiment.command_line import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_PAUSED, compose_config, one_line
from orapo.experiment.config import read_experiment
from orapo.experiment.judge_cost import cost_table, estimate_cost
from orapo.experiment.judge_tables import agreement_tables, breakdown_tables
from orapo.experiment.judged_reports import read_labels, read_report, read_reports_with_labels
from orapo.experiment.parts import build_data
from orapo.experiment.targets import build
from orapo.records import Split, Study
from orapo.reward.agreement import compare_judges
from orapo.reward.fact_score import FactScoreReward
from orapo.reward.judging import rewards_only
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.weighted import WeightedReward

PATIENCE = "pause_limit_seconds"
AT_A_TERMINAL_SECONDS = 60.0


def run_task(arguments: Namespace) -> int:
    """Runs the task that ``arguments.command`` names; gives the exit code. A user's error is one line."""
    task = {"report": _report, "compare": _compare, "estimate": _estimate}[arguments.command]
    try:
        task(arguments, Console())
    except RunPaused as pause:
        print(f"paused: {pause}", file=sys.stderr)
        return EXIT_PAUSED
    except (OrapoError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _report(arguments: Namespace, console: Console) -> None:
    reward = _reward(_config(arguments.overrides))
    report = read_report(arguments.report)
    labels = read_labels(arguments.labels) if arguments.labels else None
    scored = rewards_only(reward.start([report], [_study(labels)]).result()) if labels else None
    judged = reward.judge.start([report]).result()[0]
    for table in breakdown_tables(report, judged, labels, scored[0] if scored else None):
        console.print(table)


def _compare(arguments: Namespace, console: Console) -> None:
    config = _config(arguments.overrides)
    reward = _reward(config)
    if not isinstance(reward.judge, LlmJudge) or reward.judge.stages == "offline":
        raise SettingError("the offline judge is compared with a language model: add reward=fact_score_llm")
    reports, labels = read_reports_with_labels(arguments.reports, arguments.num)
    facts = reward.facts
    offline = FactScoreReward(f_beta=facts.f_beta, uncertain_is_positive=facts.uncertain_is_positive)
    pending = facts.start(reports, labels)
    agreement = compare_judges(offline.score(reports, labels), rewards_only(pending.result()))
    for table in agreement_tables(agreement, "offline", config.reward.model, reward.judge.totals()):
        console.print(table)


def _estimate(arguments: Namespace, console: Console) -> None:
    overrides = list(arguments.overrides)
    if not any(override.startswith("reward=") for override in overrides):
        overrides.append("reward=fact_score_llm")
    config = _config(overrides)
    reward = _reward(config)
    if not isinstance(reward.judge, LlmJudge):
        raise SettingError("this reward's judge costs nothing: add reward=fact_score_llm to estimate a language model")
    experiment = read_experiment(config)
    estimate = estimate_cost(experiment, build_data(experiment, looks_at_images=False), reward)
    console.print(cost_table(estimate))


def _reward(config: DictConfig) -> WeightedReward:
    reward: WeightedReward = build(config.reward, "reward")
    return reward


def _study(labels: LabelStates) -> Study:
    """A study of which only the labels are known: terms that need its report are undefined."""
    return Study("labels", "labels", Split.TEST, (), (), "", labels)


def _config(overrides: Sequence[str]) -> DictConfig:
    config = compose_config(overrides)
    if PATIENCE in config.reward and not any(override.startswith(f"reward.{PATIENCE}=") for override in overrides):
        # A training run waits for an hour before it stops; someone at a terminal does not.
        config.reward[PATIENCE] = AT_A_TERMINAL_SECONDS
    return config
