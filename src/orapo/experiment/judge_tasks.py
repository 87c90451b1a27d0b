"""What the commands of ``orapo judge`` do with their arguments, and the tables that they print."""

import math
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orapo.chexpert import LabelStates, Observation
from orapo.display import visible
from orapo.errors import SettingError
from orapo.experiment.command_line import compose_config, reported
from orapo.experiment.config import read_experiment
from orapo.experiment.judge_cost import cost_table, estimate_cost
from orapo.experiment.judged_reports import read_labels, read_report, read_reports_with_labels
from orapo.experiment.parts import build_data
from orapo.experiment.targets import build
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
