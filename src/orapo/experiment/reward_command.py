"""``python -m orapo.reward``: judge one report, compare two judges, estimate what a run's judge will cost.

Takes the same overrides as ``train.py`` (``reward=fact_score_llm reward.model=...``), so that what is looked at is what
a run would use.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

import orapo
from orapo.chexpert import LabelStates
from orapo.errors import OrapoError, RunPaused, SettingError
from orapo.experiment.command_line import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_PAUSED, one_line
from orapo.experiment.config import build, read_experiment
from orapo.experiment.judge_cost import cost_table, estimate_cost
from orapo.experiment.judge_tables import agreement_tables, breakdown_tables
from orapo.experiment.judged_reports import read_labels, read_report, read_reports_with_labels
from orapo.records import Split, Study
from orapo.reward.agreement import compare_judges
from orapo.reward.fact_score import FactScoreReward
from orapo.reward.judging import rewards_only
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.weighted import WeightedReward

CONF = "ORAPO_CONF"
PATIENCE = "pause_limit_seconds"
AT_A_TERMINAL_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when all is well, 1 for a user's error, 75 when the judge can't answer now."""
    parser = ArgumentParser(prog="python -m orapo.reward", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "judge", "judges one report, and says why it earns what it earns", _judge, _judge_options)
    _add(commands, "compare", "sets the offline judge beside the configured one", _compare, _compare_options)
    _add(commands, "estimate", "says before a run what its judge will cost", _estimate, None)
    parsed = parser.parse_args(arguments)
    try:
        parsed.run(parsed, Console())
    except RunPaused as pause:
        print(f"paused: {pause}", file=sys.stderr)
        return EXIT_PAUSED
    except (OrapoError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _add(
    commands: Any,
    name: str,
    text: str,
    run: Callable[[Namespace, Console], None],
    add_options: Callable[[ArgumentParser], None] | None,
) -> None:
    parser: ArgumentParser = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
    if add_options is not None:
        add_options(parser)
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="as for train.py, for example reward.f_beta=1"
    )
    parser.set_defaults(run=run)


def _judge_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--report", required=True, metavar="FILE", help="the generated report: a text file, - for stdin"
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="the study's labels: JSON from observation to 1, 0, -1 or null, or a CSV with one row; none: no reward",
    )


def _compare_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--reports",
        required=True,
        metavar="FILE",
        help="reports with labels: test_reports.jsonl or rollouts.jsonl of a run",
    )
    parser.add_argument("--num", type=int, default=None, metavar="N", help="the first N reports only")


def _judge(arguments: Namespace, console: Console) -> None:
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
    if not isinstance(reward.judge, LlmJudge):
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
    console.print(cost_table(estimate_cost(read_experiment(config), reward.judge, str(config.reward.stages))))


def _reward(config: DictConfig) -> WeightedReward:
    reward: WeightedReward = build(config.reward, "reward")
    return reward


def _study(labels: LabelStates) -> Study:
    """Of which nothing is known but its labels: terms that need its report are undefined."""
    return Study("labels", "labels", Split.TEST, (), (), "", labels)


def _config(overrides: Sequence[str]) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", list(overrides))
    if PATIENCE in config.reward and not any(override.startswith(f"reward.{PATIENCE}=") for override in overrides):
        # A training run waits for an hour before it stops; someone at a terminal does not.
        config.reward[PATIENCE] = AT_A_TERMINAL_SECONDS
    return config


def conf_folder() -> Path:
    """The config tree: of ORAPO_CONF, below the working folder, or of the checkout that this package lies in.

    Raises:
        SettingError: there is none.
    """
    given = os.environ.get(CONF)
    checkout = Path(orapo.__file__).resolve().parents[2]
    places = [Path(given)] if given else [Path.cwd() / "conf", checkout / "conf"]
    for place in places:
        if (place / "config.yaml").is_file():
            return place.resolve()
    looked = " and ".join(map(str, places))
    raise SettingError(f"there is no config.yaml in {looked}; run this in the checkout, or set {CONF}")
