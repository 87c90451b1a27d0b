"""One run, step by step: build, test the base policy, fit, test the trained policy, write down, close."""

import json
import logging
import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from orapo.data.left_out import write_left_out
from orapo.errors import DataError, NonFiniteError, OrapoError
from orapo.evaluation.report_pairs import write_report_pairs
from orapo.experiment.command_line import exit_code
from orapo.experiment.config import Experiment, read_experiment
from orapo.experiment.joining import join_ranks
from orapo.experiment.loggers import close_loggers, log_summary, log_test_table, open_loggers
from orapo.experiment.parts import CHECKPOINTS, Parts, build_parts
from orapo.experiment.quiet import quiet_libraries
from orapo.experiment.results import Results, Scores, read_scores, write_pictures, write_results, write_scores
from orapo.experiment.targets import plain
from orapo.policy.sighted import base_folder as sighted_folder
from orapo.policy.tiny import base_folder
from orapo.records import RewardBreakdown
from orapo.training.checkpoints import LAST
from orapo.training.distributed import Ranks, sampling_seed, summed
from orapo.training.held_out_reports import Generated
from orapo.training.metrics import Stopwatch
from orapo.training.module import OrapoModule
from orapo.training.sharding import full_state_dict

log = logging.getLogger(__name__)

BASE_SCORES = "base_scores.json"


def quiet_other_ranks() -> None:
    """Leaves what all processes have to say to the first one, errors apart."""
    logging.getLogger("orapo").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def train(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Trains as ``config`` says and leaves everything in ``folder``.

    Args:
        config: the composed config, or the saved one of the run that is resumed.
        folder: of the run, existing; holds a checkpoint when the run is resumed.

    Returns:
        The content of summary.json.

    Raises:
        OrapoError: whatever the user can mend.
    """
    quiet_libraries()
    experiment = read_experiment(config)
    with join_ranks(config) as ranks:
        if ranks.shard.rank:
            quiet_other_ranks()
        try:
            shared = ranks.broadcast(folder.resolve)
            return _train_in(folder if ranks.is_first else shared, experiment, ranks)
        except Exception as error:
            ranks.abort(error)
            if ranks.shard.rank and ranks.has_aborted and isinstance(error, OrapoError):
                # The first process says it, for all.
                raise SystemExit(exit_code(error)) from error
            raise


def _train_in(folder: Path, experiment: Experiment, ranks: Ranks) -> dict[str, Any]:
    checkpoint = folder / CHECKPOINTS / LAST
    is_resumed = ranks.broadcast(checkpoint.exists)
    if not is_resumed and ranks.is_first:
        OmegaConf.save(experiment.config, folder / "config.yaml", resolve=True)
    seed_everything(experiment.seed, workers=True, verbose=False)
    loggers: list[Logger] = []
    try:
        if ranks.is_first:
            loggers = open_loggers(experiment.wandb, folder, experiment.run_name, plain(experiment.config))
        return _run(experiment, folder, checkpoint if is_resumed else None, loggers, ranks)
    finally:
        close_loggers(loggers)


def _run(
    experiment: Experiment, folder: Path, checkpoint: Path | None, loggers: list[Logger], ranks: Ranks
) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.phase("setup"):
        parts = ranks.all_or_raise(lambda: build_parts(experiment, folder, loggers, ranks))
        _refuse_other_data(parts)
        if ranks.is_first:
            parts.data.manifest.write(folder / "subset.json")
            write_left_out(parts.data.left_out, folder / "left_out.csv")
        else:
            # All have drawn the same until here (an adapter's first weights); dropout differs from now on.
            torch.manual_seed(sampling_seed(experiment.seed, 0, ranks.shard.rank))
    _warn_of_the_embedded_policy(experiment, parts)
    uncertain_is_positive = experiment.data.uncertain_is_positive
    with watch.phase("base_test"):
        base = _base_scores(parts, folder, uncertain_is_positive)
        if checkpoint is None and experiment.training.validate_every_steps is not None:
            # The learning curve's first point: the base policy, step 0 of validation.csv.
            parts.trainer.validate(parts.module, datamodule=parts.data, verbose=False)
    with watch.phase("training"):
        _fit(parts, folder, checkpoint)
    with watch.phase("final_test"):
        own, shuffled = _test(parts)
    parts.rollouts.close()
    judge_totals = summed(ranks.all_gather(lambda: dict(parts.reward.totals())))
    weights = full_state_dict(parts.policy)
    if not ranks.is_first:
        return {}
    write_report_pairs(folder / "test_reports.jsonl", own.pairs)
    parts.policy.save(str(folder / "model"), weights)
    results = Results(
        base=base,
        trained=Scores.of(own, uncertain_is_positive),
        shuffled=None if shuffled is None else Scores.of(shuffled, uncertain_is_positive),
        num_train_studies=len(parts.data.train_studies),
        num_validate_studies=len(parts.data.validate_studies),
        num_steps=parts.data.num_steps,
        seconds=watch.seconds,
        judge=judge_totals,
    )
    summary = write_results(results, experiment, folder)
    table = write_pictures(results, own, parts.data, folder, uncertain_is_positive)
    log_test_table(loggers, _table_rows(parts, own, experiment))
    log_summary(loggers, summary["sortable"])
    print(table)
    if results.judge:
        print(judge_line(results.judge))
    return summary


def _refuse_other_data(parts: Parts) -> None:
    """Raises a DataError when not all processes read the same studies, as from machines with different files."""
    data = parts.data
    splits = (data.train_studies, data.validate_studies, data.test_studies)
    read = parts.ranks.all_gather(lambda: [[study.study_id for study in split] for split in splits])
    for rank, ids in enumerate(read):
        if ids != read[0]:
            raise DataError(
                f"process {rank} read other studies than process 0; all machines need the same data and settings"
            )


def judge_line(totals: Mapping[str, float]) -> str:
    """What a language-model judge did since the run began or was resumed, and what it left to others."""
    counted = defaultdict(float, totals)  # a judge names what it counts
    line = (
        f"Judge: {counted['calls']:,.0f} calls, {counted['cache_hits']:,.0f} questions answered from the cache, "
        f"{counted['cost_usd']:,.4f} US dollars"
    )
    if counted["offline_reports"]:
        line += f"; the offline judge read {counted['offline_reports']:,.0f} reports in its stead"
    if counted["dropped_reports"]:
        line += f"; {counted['dropped_reports']:,.0f} reports could not be judged, and their studies were left out"
    return line


def _warn_of_the_embedded_policy(experiment: Experiment, parts: Parts) -> None:
    name = {base_folder(): "tiny", sighted_folder(): "sighted"}.get(experiment.model.path)
    if name is not None and not parts.data.is_synthetic:
        log.warning(
            f"the embedded policy (model={name}) knows phantoms only and is too small to learn radiology: this run "
            "shows that the data are read right; a real one needs a real model, for example model=qwen2_5_vl_3b"
        )


def _base_scores(parts: Parts, folder: Path, uncertain_is_positive: bool) -> "Scores":
    """Scores of the policy before training; a resumed run has them already."""
    path = folder / BASE_SCORES
    if parts.ranks.broadcast(path.exists):
        return parts.ranks.broadcast(lambda: read_scores(path))
    own, _ = _test(parts)
    scores = Scores.of(own, uncertain_is_positive)
    if parts.ranks.is_first:
        write_report_pairs(folder / "base_test_reports.jsonl", own.pairs)
        write_scores(scores, path)
    return scores


def _test(parts: Parts) -> tuple[Generated, Generated | None]:
    """Reports for the test studies on their own images, and on shuffled ones where there are two studies or more."""
    parts.trainer.test(parts.module, datamodule=parts.data, verbose=False)
    generated = parts.module.generated
    return generated[0], generated[1] if len(generated) > 1 else None


def _fit(parts: Parts, folder: Path, checkpoint: Path | None) -> None:
    if checkpoint is not None:
        log.info("going on from %s", checkpoint)
    try:
        parts.trainer.fit(
            parts.module, datamodule=parts.data, ckpt_path=None if checkpoint is None else str(checkpoint)
        )
    except NonFiniteError as error:
        path = folder / "nonfinite_studies.json"
        if parts.ranks.is_first:
            _save_offending(error, parts, path)
        saved = NonFiniteError(f"{error}; these studies are saved in {path}")
        saved.study_ids = error.study_ids
        raise saved from error


def _save_offending(error: NonFiniteError, parts: Parts, path: Path) -> None:
    by_id = {study.study_id: study for study in parts.data.train_studies}
    rows = [
        {
            "study_id": study_id,
            "image_paths": list(by_id[study_id].image_paths),
            "oracle_report": by_id[study_id].oracle_report,
        }
        for study_id in error.study_ids
    ]
    module: OrapoModule = parts.module
    content = {"error": str(error), "studies": rows, "last_finite_step": module.last_metrics or None}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _table_rows(parts: Parts, own: Generated, experiment: Experiment) -> list[dict[str, Any]]:
    if experiment.wandb is None:
        return []
    rows = []
    studies = parts.data.test_studies[: experiment.wandb.num_table_studies]
    for study, pair in zip(studies, own.pairs, strict=False):
        judged = parts.reward.start([pair.generated_report], [study]).result()[0]
        rows.append(
            {
                "study_id": study.study_id,
                "image": parts.data.load_images(study)[1][0],
                "oracle_report": pair.oracle_report,
                "generated_report": pair.generated_report,
                "facts": " | ".join(fact.text for fact in judged.facts) if isinstance(judged, RewardBreakdown) else "",
                "reward": judged.total if isinstance(judged, RewardBreakdown) else None,
            }
        )
    return rows
