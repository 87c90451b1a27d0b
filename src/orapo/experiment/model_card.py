"""The model card of a run's model folder: what it was trained on and by, what it scores, and how to load it."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from orapo.comparison.run_folder import FIRST_STAGE
from orapo.errors import DataError
from orapo.evaluation.answers import ACCURACY, ANSWERED
from orapo.evaluation.clinical import reading_of
from orapo.experiment.first_stage import MERGED
from orapo.foreign import parse_yaml, read_text

log = logging.getLogger(__name__)

CARD = "README.md"
MEASURES = {"macro P": "macro/precision", "macro R": "macro/recall", "macro F1": "macro/f1", "micro F1": "micro/f1"}
ANSWER_MEASURES = {"accuracy": ACCURACY, "with an answer": ANSWERED}
SETTINGS = (
    *("objective.alpha", "objective.w_min", "objective.w_max", "objective.gamma", "reward.terms", "reward.f_beta"),
    *("rollout.per_study", "rollout.max_new_tokens", "rollout.temperature", "prompt.context"),
    *("training.num_steps", "training.num_passes", "training.batch_size", "training.learning_rate"),
    *("model.dtype", "model.trainable", "model.lora.rank", "model.lora.alpha", "trainer.precision", "seed"),
)
"""Keys whose values are told, where the run has them."""
UNKNOWN = "unknown"
_RULE = re.compile(r"^---\s*$", re.MULTILINE)


def model_card(summary: Mapping[str, Any], config: DictConfig, path: str) -> str:
    """Markdown below the hub's metadata; no study, no report, and of a base's folder the name alone."""
    is_adapter = config.model.get("lora") is not None
    base, licence = _base(path)
    metadata = {
        "license": "other" if licence == UNKNOWN else licence,
        "library_name": "peft" if is_adapter else "transformers",
        "base_model": base,
        "pipeline_tag": "image-text-to-text",
        "tags": ["question-answering", "orapo"] if _asks(summary) else ["radiology", "report-generation", "orapo"],
    }
    parts = (
        _intro(summary, base),
        _data(summary, config),
        _settings(config),
        _scores(summary, config),
        _limits(summary, config),
        _licence(base, licence),
        _use(_below_adapter(base, config), is_adapter=is_adapter, asks=_asks(summary)),
        _versions(summary),
    )
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n" + "\n\n".join(parts) + "\n"


def _asks(summary: Mapping[str, Any]) -> bool:
    """Whether the run answered questions instead of writing reports."""
    return ACCURACY in summary["scores"]["system"].get("measures", {})


def _base(path: str) -> tuple[str, str]:
    """The base's name, and its licence where the base's own card is at hand and says so."""
    card = Path(path) / CARD
    told = None
    try:
        head, *rest = _RULE.split(read_text(card) if card.is_file() else "", maxsplit=2)
        if rest and not head:
            told = parse_yaml(rest[0], str(card))
    except DataError:
        log.info("the card of the base, %s, can't be read; its licence stays unknown", card)
    licence = told.get("license") if isinstance(told, dict) else None
    return Path(path).name if Path(path).is_dir() else path, str(licence or UNKNOWN)


def _intro(summary: Mapping[str, Any], base: str) -> str:
    does = "answers questions" if _asks(summary) else "writes reports of chest radiographs"
    return (
        f"# {summary['run_name']}\n\n"
        f"A vision-language model that {does}: {base}, trained in OraPO's framework (arXiv 2509.18600) by the losses "
        "below. **Not for clinical use.**"
    )


def _data(summary: Mapping[str, Any], config: DictConfig) -> str:
    counts = summary["counts"]
    source = str(config.data.source._target_).rpartition(".")[2]
    capped = " (capped)" if summary["max_test_studies"] == counts["test_studies"] else ""
    told = f"{counts['train_studies']:,} training studies, {counts['validate_studies']:,} validation studies"
    return f"## Data\n\n{source}: {told}, {counts['test_studies']:,} test studies{capped}."


def _settings(config: DictConfig) -> str:
    told = {key: OmegaConf.select(config, key) for key in SETTINGS}
    for loss in ("oracle_loss", "policy_loss"):
        told = {f"objective.{loss}": str(config.objective[loss]._target_).rpartition(".")[2], **told}
    rows = [f"| {key} | {value} |" for key, value in told.items() if value not in (None, [])]
    return "\n".join(["## Training", "", "| setting | |", "|---|---|", *rows])


def _scores(summary: Mapping[str, Any], config: DictConfig) -> str:
    start = f"{reading_of(config.data.uncertain_is_positive)}/all_14/"
    names = ANSWER_MEASURES if _asks(summary) else {title: f"{start}{name}" for title, name in MEASURES.items()}
    lines = ["## Scores", "", f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for row in summary["scores"].values():
        measures = row.get("measures", {})
        cells = [_cell(measures.get(name)) for name in names.values()]
        lines.append(f"| {row['title']} | {' | '.join(cells)} |" if measures else f"| {row['title']} | not computed |")
    if _asks(summary):
        lines += ["", "On the test questions, with 95 % intervals over them. One run, one seed: other seeds differ."]
        return "\n".join(lines)
    lines += [
        "",
        "On the test studies, over the 14 CheXpert observations, with 95 % intervals over studies. Reports are read by "
        "the rule labeler, which the offline reward reads by too. The rows below the base policy are controls: what "
        "this model writes of other studies' images, and what needs no image. One run, one seed: other seeds differ.",
    ]
    return "\n".join(lines)


def _cell(measure: Mapping[str, float] | None) -> str:
    return "" if measure is None else f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def _limits(summary: Mapping[str, Any], config: DictConfig) -> str:
    private = "The weights were trained on patients' data and may hold some of it: its terms of use apply to them. "
    drawn = "It was trained on drawings, and knows nothing of radiographs. "
    told = private if config.data.is_private else drawn
    if _asks(summary):
        told = private if config.data.is_private else ""
        return (
            f"## Limits\n\n{told}Answers alone were checked: the steps before them may be wrong, or not what led there."
        )
    return (
        f"## Limits\n\n{told}A reward that reads reports by rules can be earned by what those rules take; see the "
        "control of shuffled images. No radiologist has read its reports. What it says of places, sizes and changes is "
        "not in the scores above."
    )


def _licence(base: str, licence: str) -> str:
    if licence == UNKNOWN:
        told = f"That of {base} applies to what was made of it; this run had no card of it at hand. Read it there."
    else:
        told = f"{base} is under {licence}, which applies to what was made of it."
    return f"## Licence\n\n{told}"


def _below_adapter(base: str, config: DictConfig) -> str:
    """What an adapter of the run belongs on: the base, or what a first stage made of it."""
    return base if config.get("first") is None else f"`{FIRST_STAGE}/{MERGED}` of the run, {base} after its first stage"


def _use(base: str, *, is_adapter: bool, asks: bool) -> str:
    generate = "    orapo generate image=scan.png model=FOLDER\n"
    load = ["model = AutoModelForImageTextToText.from_pretrained(FOLDER)"]
    names = ["from transformers import AutoModelForImageTextToText"]
    if is_adapter:
        load = [
            "base = AutoModelForImageTextToText.from_pretrained(BASE)",
            "model = PeftModel.from_pretrained(base, FOLDER)",
        ]
        names.insert(0, "from peft import PeftModel")
    where = f" with `BASE` for {base}" if is_adapter else ""
    return (
        f"## Use\n\n{'' if asks else generate}"
        "    orapo evaluate checkpoint=FOLDER\n\n"
        "`FOLDER` is this folder; `orapo_model.json` in it holds the instruction and limits that it was trained with. "
        f"In Python{where}:\n\n"
        "```python\n" + "\n".join([*names, "", *load]) + "\n```"
    )


def _versions(summary: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in summary["packages"].items())
    commit = f"; commit {summary['git_commit']}" if summary["git_commit"] else ""
    return f"## Versions\n\n{versions}{commit}."
