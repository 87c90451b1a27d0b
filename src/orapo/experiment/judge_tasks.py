"""The tasks of ``orapo judge``, the files that they read, and the tables that they print."""

import csv
import math
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation, label_state_from_code
from orapo.display import visible
from orapo.errors import DataError, SettingError
from orapo.experiment.command_line import compose_config, reported
from orapo.experiment.config import read_experiment
from orapo.experiment.judge_cost import cost_table, estimate_cost
from orapo.experiment.parts import build_data
from orapo.experiment.targets import build
from orapo.foreign import decoded, parse_json, read_text
from orapo.json_lines import read_json_lines
from orapo.records import FailedJudgement, Judgement, LabelVerdict, RewardBreakdown, Split, Study
from orapo.reward.agreement import JudgeAgreement, VerdictAgreement, compare_judges
from orapo.reward.fact_score import FactScoreReward
from orapo.reward.judging import rewards_only
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.protocol import Judged
from orapo.reward.weighted import WeightedReward

PATIENCE = "pause_limit_seconds"
AT_A_TERMINAL_SECONDS = 60.0
_COLOURS = {Judgement.ENTAILED: "green", Judgement.CONTRADICTED: "red", Judgement.NOT_MENTIONED: "dim"}


def run_task(arguments: Namespace) -> int:
    """Runs the task that ``arguments.command`` names; gives the exit code. A user's error is one line."""
    task = {"report": _report, "compare": _compare, "estimate": _estimate}[arguments.command]
    return reported(partial(task, arguments, Console()))


def _report(arguments: Namespace, console: Console) -> None:
    reward = _reward(_config(arguments.overrides))
    report = read_report(arguments.report)
    labels = read_labels(arguments.labels) if arguments.labels else None
    scored = rewards_only(reward.start([report], [_study(labels)]).result()) if labels else None
    judged = reward.judge.start([report]).result()[0]
    for table in _breakdown_tables(report, judged, labels, scored[0] if scored else None):
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
    for table in _agreement_tables(agreement, "offline", config.reward.model, reward.judge.totals()):
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


def read_report(path: str) -> str:
    """The text of a file, or of standard input for ``"-"``.

    Raises:
        DataError: the file can't be read.
    """
    return decoded(sys.stdin.buffer.read(), "standard input") if path == "-" else read_text(path)


def read_labels(path: str) -> LabelStates:
    """The label states of one study from JSON ({observation: 1, 0, -1 or null}) or from a CSV with one row.

    Raises:
        DataError: the file can't be read, names something that is no observation, or holds another code.
    """
    text = read_text(path)
    content: object = parse_json(text, path) if Path(path).suffix == ".json" else _only_row(text, path)
    if not isinstance(content, dict):
        raise DataError(f"labels {path} must map observations to 1, 0, -1 or null")
    known = {observation.value for observation in OBSERVATIONS}
    if Path(path).suffix == ".json" and (unknown := sorted(set(content) - known)):
        raise DataError(f"labels {path}: {unknown[0]!r} is no observation; allowed: {', '.join(sorted(known))}")
    if not known & set(content):
        raise DataError(f"labels {path} names none of the 14 observations: {', '.join(sorted(known))}")
    try:
        return {o: label_state_from_code(_code(content.get(o.value))) for o in OBSERVATIONS}
    except DataError as error:
        raise DataError(f"labels {path}: {error}") from None


def read_reports_with_labels(path: str, at_most: int | None) -> tuple[list[str], list[LabelStates]]:
    """Generated reports and their studies' label states from a run's test_reports.jsonl or rollouts.jsonl.

    Args:
        path: the file.
        at_most: read only this many rows, the first ones, at least 1; None reads all.

    Raises:
        DataError: the file can't be read, a row lacks the report or the labels, or there is no row.
    """
    reports: list[str] = []
    labels: list[LabelStates] = []
    for number, row in islice(read_json_lines(path), at_most):
        states = row.get("oracle_states", row.get("oracle_labels"))
        if not isinstance(row.get("generated_report"), str) or not isinstance(states, dict):
            raise DataError(f"{path}, line {number} lacks generated_report, or oracle_states / oracle_labels")
        reports.append(row["generated_report"])
        labels.append(_states_from_words(states, f"{path}, line {number}"))
    if not reports:
        raise DataError(f"{path} holds no report; at least one is needed")
    return reports, labels


def _states_from_words(words: Mapping[str, Any], where: str) -> LabelStates:
    try:
        return {o: LabelState(words.get(o.value, LabelState.UNMENTIONED.value)) for o in Observation}
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None


def _only_row(text: str, path: str) -> dict[str, Any]:
    try:
        rows = list(csv.DictReader(text.splitlines()))
    except csv.Error as error:
        raise DataError(f"labels {path} is no table: {error}") from None
    if len(rows) != 1:
        raise DataError(f"labels {path} has {len(rows)} rows; exactly one is needed, that of the study")
    return dict(rows[0])


def _code(value: object) -> str:
    return "" if value is None else str(value)


def _breakdown_tables(
    report: str, judged: Judged | FailedJudgement, labels: LabelStates | None, scored: RewardBreakdown | None
) -> Iterator[Table | str]:
    """Facts, then verdicts beside the truth, then the reward in one line; no reward without labels."""
    if isinstance(judged, FailedJudgement):
        yield f"[red]not judged:[/red] {_shown(judged.reason)}"
        return
    facts = Table("sentence", "fact", title=f"Facts, read by {judged.judge or 'the judge'}")
    for fact in judged.facts:
        facts.add_row(str(fact.sentence_index + 1), _shown(fact.text))
    for text, reason in judged.rejected.items():
        facts.add_row("-", f"[dim]{_shown(text)} ({_shown(reason)})[/dim]")
    yield facts
    verdicts = Table("observation", "truth", "verdict", "counts as", "supporting facts", title="Verdicts")
    for verdict in judged.verdicts:
        verdicts.add_row(*_verdict_cells(verdict, labels, scored))
    yield verdicts
    if scored is None:
        yield "No labels given: no reward."
    else:
        yield (
            f"reward [bold]{scored.total:.4f}[/bold]   precision {scored.precision:.4f}   recall {scored.recall:.4f}"
        )
        terms = ((name, "undefined" if value is None else f"{value:.4f}") for name, value in scored.terms.items())
        yield "terms: " + "   ".join(f"{name} {value}" for name, value in terms)


def _agreement_tables(
    agreement: JudgeAgreement, first: str, second: str, totals: Mapping[str, float]
) -> Iterator[Table | str]:
    """Agreement per observation, and what it means for the reward."""
    table = Table("observation", "agreement", "Cohen's kappa", f"{first} entails", f"{second} entails")
    rows: list[tuple[str, VerdictAgreement]] = [(o.value, row) for o, row in agreement.per_observation.items()]
    for name, row in [*rows, ("all 14", agreement.overall)]:
        table.add_row(name, f"{row.agreement:.3f}", _number(row.kappa), str(row.first_entails), str(row.second_entails))
    yield table
    reports = agreement.overall.num_reports // len(rows)
    yield (
        f"{reports} reports: reward correlation {_number(agreement.reward_correlation)}, mean reward "
        f"{agreement.mean_rewards[0]:.3f} ({first}) and {agreement.mean_rewards[1]:.3f} ({second}), "
        f"agreement on zero or not {agreement.zero_agreement:.3f}"
    )
    yield (
        f"{second}: {totals.get('calls', 0):.0f} calls, {totals.get('cache_hits', 0):.0f} cache hits, "
        f"{totals.get('cost_usd', 0):.4f} US dollars"
    )


def _number(value: float) -> str:
    """Three digits; a dash where the quantity does not exist."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def _verdict_cells(
    verdict: LabelVerdict, labels: LabelStates | None, scored: RewardBreakdown | None
) -> tuple[str, str, str, str, str]:
    colour = _COLOURS[verdict.judgement]
    truth = "" if labels is None else labels[verdict.observation].value
    facts = "; ".join(_shown(fact.text) for fact in verdict.supporting_facts)
    counts = "" if scored is None else _counts_as(verdict.observation, scored)
    return verdict.observation.value, truth, f"[{colour}]{verdict.judgement.value}[/{colour}]", counts, facts


def _counts_as(observation: Observation, scored: RewardBreakdown) -> str:
    kinds = (
        ("[green]true positive[/green]", scored.true_positives),
        ("[red]false positive[/red]", scored.false_positives),
        ("[yellow]false negative[/yellow]", scored.false_negatives),
    )
    return ", ".join(name for name, of_kind in kinds if observation in of_kind)


def _shown(text: str) -> str:
    """Text of a report or a model: no markup, and nothing that steers the terminal."""
    return escape(visible(text))
