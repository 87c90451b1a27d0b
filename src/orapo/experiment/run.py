"""One run, step by step: build, test the base policy, fit, test the trained policy, write the results, close."""

import gc
import json
import logging
import os
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig, OmegaConf

from orapo.comparison.run_folder import FIRST_STAGE
from orapo.data.shuffled import derangement
from orapo.data.source import write_left_out
from orapo.errors import DataError, NonFiniteError, OrapoError, SettingError
from orapo.evaluation.examiner import SCORE, SystemScores
from orapo.evaluation.report_pairs import ReportPair, Written, read_report_pairs, write_report_pairs
from orapo.experiment.command_line import exit_code
from orapo.experiment.config import Experiment, read_experiment
from orapo.experiment.devices import Device, chosen_device, join_ranks
from orapo.experiment.evaluation_controls import TITLES, TrainingStudies, controls, why_not_shuffled
from orapo.experiment.finished_run import CONFIG_FILE
from orapo.experiment.first_stage import begins_with, first_config
from orapo.experiment.loggers import close_loggers, log_summary, log_test_table, open_loggers
from orapo.experiment.model_card import CARD, model_card
from orapo.experiment.parts import CHECKPOINTS, SUBSET, Parts, build_parts
from orapo.experiment.quiet import quiet_libraries
from orapo.experiment.results import Results, files_text, summary_of, write_pictures, write_summary
from orapo.experiment.sweeps.earlier_jobs import MAX_TOLD, differences, start_over
from orapo.experiment.targets import plain
from orapo.experiment.train_settings import SUMMARY
from orapo.policy.embedded import EMBEDDED
from orapo.records import RewardBreakdown
from orapo.stopping import STOP_SIGNALS, Stopped
from orapo.training.checkpoint_files import find_last
from orapo.training.distributed import Ranks, sampling_seed, summed
from orapo.training.metrics import Stopwatch
from orapo.training.module import OrapoModule
from orapo.training.sharding import full_state_dict
from orapo.whole_file import write_whole

log = logging.getLogger(__name__)

BASE_REPORTS = "base_test_reports.jsonl"


def train(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Trains by ``config`` and writes everything to ``folder``.

    Args:
        config: the composed config, or the saved one of the run that is resumed.
        folder: of the run, existing; holds a checkpoint when the run is resumed.

    Returns:
        The content of summary.json.

    Raises:
        OrapoError: any fault that the user can mend.
    """
    quiet_libraries()
    experiment = read_experiment(config)
    try:
        with STOP_SIGNALS.heard():
            return _train(config, experiment, folder)
    except Stopped as stop:
        raise stop.error() from stop


def _train(config: DictConfig, experiment: Experiment, folder: Path) -> dict[str, Any]:
    with join_ranks(config) as ranks:
        STOP_SIGNALS.is_told = ranks.is_first
        if ranks.shard.rank:
            # The first process speaks for all, errors apart.
            logging.getLogger("orapo").setLevel(logging.ERROR)
            warnings.filterwarnings("ignore")
        try:
            shared = ranks.broadcast(folder.resolve)
            folder = folder if ranks.is_first else shared
            if (first := first_config(config)) is not None:
                _train_first(folder / FIRST_STAGE, first, experiment, ranks)
                model = ranks.broadcast(lambda: begins_with(experiment.model, folder / FIRST_STAGE))
                experiment = replace(experiment, model=model)
            return _train_in(folder, experiment, ranks)
        except Exception as error:
            ranks.abort(error)
            if ranks.shard.rank and ranks.has_aborted and isinstance(error, OrapoError):
                # The first process speaks for all.
                raise SystemExit(exit_code(error)) from error
            raise


def _train_first(folder: Path, config: DictConfig, experiment: Experiment, ranks: Ranks) -> None:
    """Trains the first stage in a folder of its own, unless it is finished there."""
    if ranks.broadcast(lambda: _has_ended(folder, config)):
        return
    if ranks.is_first:
        folder.mkdir(exist_ok=True)
        # For `resume=`, if the first stage is interrupted.
        _save_config(experiment, folder.parent)
    log.info("the first stage, a run of its own in %s", folder)
    _train_in(folder, read_experiment(config), ranks)
    log.info("the run itself, from the model of its first stage")
    # Frees its weights before those of the run are loaded: a trainer and its module refer to each other.
    gc.collect()
    # What torch keeps of their memory would count as taken when it is planned what fits.
    torch.cuda.empty_cache()


def _has_ended(folder: Path, config: DictConfig) -> bool:
    if (folder / CONFIG_FILE).is_file() and (told := differences(folder, config)):
        raise SettingError(
            f"{folder} holds a first stage of another config: {', '.join(told[:MAX_TOLD])}; delete that folder"
        )
    return (folder / SUMMARY).is_file()


def _train_in(folder: Path, experiment: Experiment, ranks: Ranks) -> dict[str, Any]:
    checkpoint, damaged = ranks.broadcast(lambda: find_last(folder / CHECKPOINTS))
    for line in damaged:
        log.warning("%s; it is set aside, and the run continues from the checkpoint before", line)
    if checkpoint is None and ranks.is_first:
        start_over(folder)
        _save_config(experiment, folder)
    seed_everything(experiment.seed, workers=True, verbose=False)
    loggers: list[WandbLogger] = []
    try:
        if ranks.is_first:
            loggers = open_loggers(experiment.logger.wandb, folder, experiment.run_name, plain(experiment.config))
        return _run(experiment, folder, checkpoint, loggers, ranks)
    finally:
        close_loggers(loggers)


def _save_config(experiment: Experiment, folder: Path) -> None:
    """Half a config would neither be resumed nor make room for another run."""
    write_whole(folder / CONFIG_FILE, OmegaConf.to_yaml(experiment.config, resolve=True))


def _run(
    experiment: Experiment, folder: Path, checkpoint: Path | None, loggers: list[WandbLogger], ranks: Ranks
) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.phase("setup"):
        device = _shared_device(experiment, ranks)
        is_resumed = checkpoint is not None
        parts = ranks.all_or_raise(lambda: build_parts(experiment, folder, loggers, ranks, device, is_resumed))
        _refuse_other_data(parts)
        if ranks.is_first and not (folder / SUBSET).exists():
            write_left_out(parts.data.left_out, folder / "left_out.csv")
            parts.data.manifest.write(folder / SUBSET)
        if not ranks.is_first:
            # So far all processes have drawn the same numbers (an adapter's first weights); from here dropout differs.
            torch.manual_seed(sampling_seed(experiment.seed, 0, ranks.shard.rank))
    _warn_of_the_embedded_policy(experiment, parts)
    log.info("testing the base policy")
    # Isolated: what is tested before the first step does not change the random numbers of training.
    with watch.phase("base_test"), isolate_rng():
        base = _base_pairs(parts, folder)
        if checkpoint is None and experiment.training.validate_every_steps is not None:
            # The learning curve's first point: the base policy, step 0 of validation.csv.
            parts.trainer.validate(parts.module, datamodule=parts.data, verbose=False)
    log.info("training")
    with watch.phase("training"):
        try:
            _fit(parts, folder, checkpoint)
        except BaseException:
            parts.rollouts.stop()
            raise
    log.info("testing the trained policy")
    with watch.phase("final_test"):
        written = _test(parts, parts.data.test_dataloader())
    parts.rollouts.close()
    judge_totals = summed(ranks.all_gather(lambda: dict(parts.reward.totals())))
    weights = full_state_dict(parts.policy)
    if not ranks.is_first:
        return {}
    log.info("writing results")
    parts.policy.save(str(folder / "model"), weights)
    with watch.phase("examination"):
        systems = _examined(parts, base, written, experiment.seed)
    trained = systems["system"]
    write_report_pairs(folder / "test_reports.jsonl", trained.pairs)
    results = Results(
        systems=systems,
        differences=parts.examiner.differences(trained, systems["base"]),
        confidence=parts.examiner.bootstrap.confidence,
        data=parts.data,
        seconds=watch.seconds,
        judge=judge_totals,
    )
    summary = summary_of(results, experiment, folder)
    # In a run with a first stage: what that stage began with.
    began_with = read_experiment(experiment.config).model.path
    # In place of PEFT's own draft, which is empty.
    (folder / "model" / CARD).write_text(model_card(summary, experiment.config, began_with), encoding="utf-8")
    table = write_pictures(results, experiment, folder)
    log_test_table(loggers, _table_rows(parts, trained.pairs, experiment))
    log_summary(loggers, summary["sortable"])
    write_summary(summary, folder)
    print(f"{table}\n{files_text(folder)}")
    if results.judge:
        print(judge_line(results.judge))
    return summary


def _shared_device(experiment: Experiment, ranks: Ranks) -> Device:
    """This process's device, with the least free memory of any process: all then choose the same settings."""
    index = int(os.environ.get("LOCAL_RANK", "0"))
    devices = ranks.all_gather(lambda: chosen_device(experiment.config.trainer.accelerator, index))
    return replace(devices[ranks.shard.rank], free_bytes=min(device.free_bytes for device in devices))


def _refuse_other_data(parts: Parts) -> None:
    """Raises a DataError unless all processes read the same studies: machines may hold different files."""
    data = parts.data
    splits = (data.train_studies, data.validate_studies, data.test_studies)
    read = parts.ranks.all_gather(lambda: [[study.study_id for study in split] for split in splits])
    for rank, ids in enumerate(read):
        if ids != read[0]:
            raise DataError(
                f"process {rank} read other studies than process 0; all machines need the same data and settings"
            )


def judge_line(totals: Mapping[str, float]) -> str:
    """What a language-model judge has done since the run began or was resumed, and what it left to others."""
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
    name = EMBEDDED.get(experiment.model.path)
    if name is not None and not parts.data.is_synthetic:
        log.warning(
            f"the embedded policy (model={name}) knows phantoms only and is too small to learn radiology: this run "
            "shows that the data are read right; a real one needs a real model, for example model=qwen2_5_vl_3b"
        )


def _base_pairs(parts: Parts, folder: Path) -> tuple[ReportPair, ...]:
    """The base policy's reports for the test studies; a resumed run reads them from its folder."""
    path = folder / BASE_REPORTS
    if parts.ranks.broadcast(path.exists):
        return parts.ranks.broadcast(lambda: read_report_pairs(path))
    # Own images only: no score uses the base policy's reports on shuffled images.
    (written,) = _test(parts, parts.data.test_dataloader()[:1])
    if not parts.ranks.is_first:
        return ()
    pairs = parts.examiner.read(parts.data.test_studies, written)
    write_report_pairs(path, pairs)
    return pairs


def _test(parts: Parts, loaders: list[Any]) -> list[Written]:
    """Reports for the test studies, one list per loader."""
    parts.trainer.test(parts.module, dataloaders=loaders, verbose=False)
    return parts.module.written


def _examined(
    parts: Parts, base: tuple[ReportPair, ...], written: Sequence[Written], seed: int
) -> dict[str, SystemScores]:
    """The rows of the table of scores, by key."""
    examiner, studies = parts.examiner, parts.data.test_studies
    own, *shuffled = written
    title = TITLES["shuffled_images"]
    rows = {
        "system": examiner.scored("trained policy", examiner.read(studies, own), own.counts),
        "base": examiner.scored("base policy", base),
        "shuffled_images": SystemScores(title, not_computed=why_not_shuffled(studies)),
    }
    for other in shuffled:
        pairs = examiner.read(studies, other, derangement(len(studies), seed))
        rows["shuffled_images"] = examiner.scored(title, pairs, other.counts)
    return rows | controls(examiner, TrainingStudies(parts.data.train_studies, ""), studies, seed)


def _fit(parts: Parts, folder: Path, checkpoint: Path | None) -> None:
    if checkpoint is not None:
        log.info("continuing from %s", checkpoint)
    try:
        parts.trainer.fit(
            parts.module, datamodule=parts.data, ckpt_path=None if checkpoint is None else str(checkpoint)
        )
    except NonFiniteError as error:
        path = folder / "nonfinite_studies.json"
        if parts.ranks.is_first:
            _save_offending(error, parts.module, path)
        saved = NonFiniteError(f"{error}; these studies are saved in {path}")
        saved.study_ids = error.study_ids
        raise saved from error


def _save_offending(error: NonFiniteError, module: OrapoModule, path: Path) -> None:
    content = {"error": str(error), "study_ids": error.study_ids, "last_finite_step": module.last_metrics or None}
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _table_rows(parts: Parts, pairs: Sequence[ReportPair], experiment: Experiment) -> list[dict[str, Any]]:
    if experiment.logger.wandb is None:
        return []
    if experiment.data.is_private and not experiment.logger.wandb.allow_external:
        log.info("private data: W&B gets no table of images and reports (logger.wandb.allow_external)")
        return []
    rows = []
    names = dict.fromkeys(name for pair in pairs for name in pair.scores)
    studies = parts.data.test_studies[: experiment.logger.wandb.num_table_studies]
    for study, pair in zip(studies, pairs, strict=False):
        judged = parts.reward.start([pair.generated_report], [study]).result()[0]
        rows.append(
            {
                "study_id": study.study_id,
                "image": next(iter(parts.data.load_images(study).images), None),
                "oracle_report": pair.oracle_report,
                "generated_report": pair.generated_report,
                "facts": " | ".join(fact.text for fact in judged.facts) if isinstance(judged, RewardBreakdown) else "",
                "reward": judged.total if isinstance(judged, RewardBreakdown) else None,
                **{f"{SCORE}{name}": pair.scores.get(name) for name in names},
            }
        )
    return rows
