"""What a run's language-model judge will cost, from the run's own data and settings."""

from dataclasses import dataclass

from rich.table import Table

from orapo.data.datamodule import ReportDataModule
from orapo.experiment.config import Experiment
from orapo.reward.llm.attributes import STAGE as ATTRIBUTES
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.llm.prompts import COMBINED, ENTAIL, EXTRACT, Request
from orapo.reward.llm.rubric import STAGE as RUBRIC
from orapo.reward.weighted import WeightedReward

CHARACTERS_PER_TOKEN = 4
"""Of English text, about; providers count exactly."""

FACT_TOKENS = 1.5
"""Tokens of an answer with the facts, per token of the report: each fact repeats its words, with its sentence."""

VERDICT_TOKENS = 350
"""Tokens of an answer with 14 verdicts."""

ATTRIBUTE_TOKENS = 3.0
"""Tokens of an answer with the attributes, per token of the report."""

CRITERIA_TOKENS = 0.5
"""Tokens of a rubric's answer, per token of its criteria."""


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What judging all rollouts of a run takes, if no two reports are equal and every call succeeds.

    Attributes:
        model: that is asked.
        num_reports: rollouts of the whole run.
        num_calls: requests about generated reports.
        report_tokens: of a typical report: the oracle reports' mean.
        prompt_tokens: of all calls.
        completion_tokens: of all calls.
        cost_usd: US dollars; None where the model's price is unknown.
        max_cost_usd: limit of the run, if any.
    """

    model: str
    num_reports: int
    num_calls: int
    report_tokens: float
    prompt_tokens: float
    completion_tokens: float
    cost_usd: float | None
    max_cost_usd: float | None


def estimate_cost(experiment: Experiment, data: ReportDataModule, reward: WeightedReward) -> CostEstimate:
    """Counts; generated reports are taken to be as long as the oracle's. The reward's judge is an ``LlmJudge``."""
    judge = reward.judge
    assert isinstance(judge, LlmJudge)
    reports = [study.oracle_report for study in data.train_studies]
    typical = sorted(reports, key=len)[len(reports) // 2]
    report_tokens = sum(map(len, reports)) / len(reports) / CHARACTERS_PER_TOKEN
    requests = reward.questions(typical)
    num_reports = data.num_steps * experiment.training.batch_size * experiment.rollout.per_study
    in_all = num_reports * sum(_prompt_tokens(request, report_tokens) for request in requests)
    out_all = num_reports * sum(_answer_tokens(request, report_tokens) for request in requests)
    endpoint = judge.client.endpoints[0]
    return CostEstimate(
        model=endpoint.model,
        num_reports=num_reports,
        num_calls=num_reports * len(requests),
        report_tokens=report_tokens,
        prompt_tokens=in_all,
        completion_tokens=out_all,
        cost_usd=endpoint.cost(round(in_all), round(out_all)) if endpoint.price_is_known else None,
        max_cost_usd=judge.client.budget.max_cost_usd,
    )


def cost_table(estimate: CostEstimate) -> Table:
    """The estimate for a terminal."""
    table = Table("", "", title=f"Judging with {estimate.model}", show_header=False)
    cost = (
        "price unknown: set reward.prices"
        if estimate.cost_usd is None
        else f"about {estimate.cost_usd:,.2f} US dollars"
    )
    limit = "none" if estimate.max_cost_usd is None else f"{estimate.max_cost_usd:,.2f} US dollars"
    for name, value in (
        ("reports", f"{estimate.num_reports:,}"),
        ("calls", f"{estimate.num_calls:,}"),
        ("tokens of a report", f"about {estimate.report_tokens:,.0f} (the oracle reports' mean)"),
        ("tokens in", f"about {estimate.prompt_tokens:,.0f}"),
        ("tokens out", f"about {estimate.completion_tokens:,.0f}"),
        ("cost", cost),
        ("reward.max_cost", limit),
    ):
        table.add_row(name, value)
    table.caption = "Equal reports are paid once, and what the cache holds is free; failed calls may be billed."
    return table


def _prompt_tokens(request: Request, report_tokens: float) -> float:
    # The facts that the second stage is shown are about as long as the report, and not known yet.
    facts = FACT_TOKENS * report_tokens if request.stage == ENTAIL else 0.0
    return facts + sum(len(message["content"]) for message in request.messages) / CHARACTERS_PER_TOKEN


def _answer_tokens(request: Request, report_tokens: float) -> float:
    criteria = len(request.messages[0]["content"]) / CHARACTERS_PER_TOKEN
    return {
        EXTRACT: FACT_TOKENS * report_tokens,
        ENTAIL: VERDICT_TOKENS,
        COMBINED: FACT_TOKENS * report_tokens + VERDICT_TOKENS,
        ATTRIBUTES: ATTRIBUTE_TOKENS * report_tokens,
        RUBRIC: CRITERIA_TOKENS * criteria,
    }[request.stage]
