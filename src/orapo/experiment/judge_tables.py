"""What judges say, as coloured tables for a terminal."""

import math
from collections.abc import Iterator, Mapping

from rich.markup import escape
from rich.table import Table

from orapo.chexpert import LabelStates, Observation
from orapo.display import visible
from orapo.records import FailedJudgement, Judgement, LabelVerdict, RewardBreakdown
from orapo.reward.agreement import JudgeAgreement, VerdictAgreement
from orapo.reward.protocol import Judged

_COLOURS = {Judgement.ENTAILED: "green", Judgement.CONTRADICTED: "red", Judgement.NOT_MENTIONED: "dim"}


def breakdown_tables(
    report: str, judged: Judged | FailedJudgement, labels: LabelStates | None, scored: RewardBreakdown | None
) -> Iterator[Table | str]:
    """Facts, then verdicts beside the truth, then the reward in one line.

    Args:
        report: that was judged.
        judged: by whichever judge.
        labels: of the study, None when not given.
        scored: the reward, None without labels.
    """
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


def agreement_tables(
    agreement: JudgeAgreement, first: str, second: str, totals: Mapping[str, float]
) -> Iterator[Table | str]:
    """Agreement per observation, and what it means for the reward."""
    table = Table("observation", "agreement", "Cohen's kappa", f"{first} entails", f"{second} entails")
    rows: list[tuple[str, VerdictAgreement]] = [(o.value, row) for o, row in agreement.per_observation.items()]
    for name, row in [*rows, ("all 14", agreement.overall)]:
        table.add_row(name, f"{row.agreement:.3f}", number(row.kappa), str(row.first_entails), str(row.second_entails))
    yield table
    reports = agreement.overall.num_reports // len(rows)
    yield (
        f"{reports} reports: reward correlation {number(agreement.reward_correlation)}, mean reward "
        f"{agreement.mean_rewards[0]:.3f} ({first}) and {agreement.mean_rewards[1]:.3f} ({second}), "
        f"agreement on zero or not {agreement.zero_agreement:.3f}"
    )
    yield (
        f"{second}: {totals.get('calls', 0):.0f} calls, {totals.get('cache_hits', 0):.0f} cache hits, "
        f"{totals.get('cost_usd', 0):.4f} US dollars"
    )


def number(value: float) -> str:
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
