"""Samples K reports a study from the base policy, and records how often they earn nothing."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.data.evaluation_studies import EvaluationStudies
from orapo.data.progress import watched
from orapo.data.ranking import RANKING_COLUMNS, SOURCE_DIGEST, settings_path
from orapo.data.source import StudySource
from orapo.data.splits import seeded_rank
from orapo.data.study_reader import StudyReader
from orapo.errors import DataError, SettingError
from orapo.experiment.config import Experiment
from orapo.experiment.generate import open_fabric
from orapo.experiment.machine import refuse_unwritable
from orapo.experiment.quiet import quiet_libraries
from orapo.experiment.targets import build, plain
from orapo.foreign import decoded, read_bytes, read_json
from orapo.policy.embedded import EMBEDDED
from orapo.policy.loading import load_policy, load_processor
from orapo.policy.settings import ModelSettings
from orapo.records import FailedJudgement, RewardBreakdown, Split, Study
from orapo.reward.protocol import Reward
from orapo.training.distributed import sampling_seed


def rank_studies(experiment: Experiment, out: Path, num_studies: int | None) -> None:
    """Ranks training studies of the source, in a seeded order, a batch at a time.

    Args:
        experiment: checked settings; ``rollout`` says how reports are sampled, ``seed`` which studies come first.
        out: the table, with ``RANKING_COLUMNS``; beside it ``NAME.json`` keeps the settings that it depends on.
        num_studies: the number to rank; None for all.

    Raises:
        SettingError: the table was made by other settings, can't be written, or reports come from a server.
        DataError: no study can be used, or the table ranks other studies.
    """
    quiet_libraries()
    if experiment.server is not None:
        raise SettingError("orapo data rank samples in this process; leave rollout=vllm out")
    source: StudySource = build(experiment.config.data.source, "data.source")
    table = _Table(out, _settings_of(experiment, source))
    studies = _studies(experiment, source, num_studies)
    size = experiment.training.eval_batch_size
    num_done = table.resume([study.study_id for study in studies], size)
    print(f"{len(studies):,} training studies of {source.name}, {num_done:,} of them ranked already", flush=True)
    if num_done < len(studies):
        ranker = _Ranker(experiment)
        firsts = range(num_done, len(studies), size)
        loader = ranker.loader(source, studies[num_done:])
        for first, batch in zip(watched(firsts, "ranking"), loader, strict=True):
            table.append(ranker.rows(batch, first))
    print(f"ranked: data.subset.rule=hard data.subset.ranking={out} trains on the hardest of them")


class _Ranker:
    """Samples and judges the rollouts that the ranking is made from."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._reward: Reward = build(experiment.config.reward, "reward")
        trainer = experiment.config.trainer
        self._fabric = open_fabric(trainer.accelerator, trainer.precision)
        model = experiment.model.for_sampling()
        processor = load_processor(model)
        self._policy = load_policy(model, processor)
        self._fabric.setup_module(self._policy)
        self._collate = Collate(processor, model.prompt, max_report_tokens=None)

    def loader(self, source: StudySource, studies: Sequence[Study]) -> "DataLoader[Any]":
        training = self._experiment.training
        return EvaluationStudies(source, tuple(studies), ()).loader(
            self._collate, batch_size=training.eval_batch_size, num_workers=training.num_workers, images_of=None
        )

    def rows(self, batch: StudyBatch, first: int) -> list[tuple[object, ...]]:
        """The table's rows for a batch whose first study is number ``first``."""
        experiment = self._experiment
        seeds = [sampling_seed(experiment.seed, 0, first + place) for place in range(len(batch))]
        with self._fabric.autocast():
            groups = self._policy.roll_out(batch.to(self._fabric.device), experiment.rollout, seeds)
        num_reports = experiment.rollout.per_study
        texts = [text for group in groups for text in group.texts]
        judged = self._reward.start(texts, [study for study in batch.studies for _ in range(num_reports)]).result()
        return [
            (
                study.study_id,
                *_rates(study, judged[place * num_reports : (place + 1) * num_reports]),
                _model_name(experiment.model),
                experiment.seed,
            )
            for place, study in enumerate(batch.studies)
        ]


def _rates(study: Study, judged: Sequence[RewardBreakdown | FailedJudgement]) -> tuple[float, float, int]:
    """Zero-reward rate, mean reward and number of the reports that could be judged."""
    rewards = [one for one in judged if isinstance(one, RewardBreakdown)]
    if not rewards:
        raise DataError(f"study {study.study_id}: none of its {len(judged)} reports could be judged")
    zero_rate = sum(one.is_zero for one in rewards) / len(rewards)
    return round(zero_rate, 6), round(sum(one.total for one in rewards) / len(rewards), 6), len(rewards)


def _studies(experiment: Experiment, source: StudySource, num_studies: int | None) -> list[Study]:
    reader = StudyReader(source, experiment.data.on_bad_image)
    ids = (entry.study_id for entry in source.entries(Split.TRAIN))
    ordered = sorted(ids, key=lambda study_id: seeded_rank(study_id, experiment.seed, "rank"))
    found = list(islice((study for study_id in ordered if (study := reader.read(study_id))), num_studies))
    if not found:
        raise DataError(f"{source.name} has no training study that can be ranked")
    return found


_HOW_IT_IS_ASKED = frozenset(
    {"api_base", "api_key_variable", "max_concurrent", "requests_per_minute", "tokens_per_minute", "timeout_seconds"}
    | {"max_tries", "deadline_seconds", "pause_limit_seconds", "batch_size", "cache", "cache_path", "max_cost"}
    | {"allow_external", "is_private"}
)
"""Settings of a judge or a metric server that no reward follows from."""


def _what_counts(settings: Any) -> Any:
    """Settings without those of ``_HOW_IT_IS_ASKED``, at any depth."""
    if not isinstance(settings, Mapping):
        return settings
    return {key: _what_counts(value) for key, value in settings.items() if key not in _HOW_IT_IS_ASKED}


def _model_name(model: ModelSettings) -> str:
    """As in conf/model for a base of ours, whose folder is another one on each machine; else what the user named."""
    return EMBEDDED.get(model.path, model.path)


def _settings_of(experiment: Experiment, source: StudySource) -> dict[str, Any]:
    """The settings that a row of the table depends on."""
    model, sampling = experiment.model, experiment.rollout
    return {
        "model": _model_name(model),
        "instruction": model.instruction,
        "context": list(model.context),
        "dtype": model.dtype,
        "precision": experiment.config.trainer.precision,
        "min_pixels": model.min_pixels,
        "max_pixels": model.max_pixels,
        "image_tiles": model.image_tiles,
        "seed": experiment.seed,
        "num_reports": sampling.per_study,
        "greedy": sampling.greedy,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        # Tables of older versions don't name them.
        **{key: value for key in ("top_k", "min_p") if (value := getattr(sampling, key))},
        "max_new_tokens": sampling.max_new_tokens,
        "min_new_tokens": sampling.min_new_tokens,
        "batch_size": experiment.training.eval_batch_size,
        "reward": _what_counts(plain(experiment.config.reward)),
        SOURCE_DIGEST: source.digest(),
    }


class _Table:
    """The CSV, written a whole batch at a time, and the settings beside it."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        """Begins the table, or checks that an existing one was made by the same settings.

        Raises:
            SettingError: it was made by other settings, or its folder isn't there.
        """
        self._path = path
        beside = settings_path(path)
        if not path.parent.is_dir():
            raise SettingError(f"out is {str(path)!r}; there is no folder {path.parent}")
        refuse_unwritable(path.parent, "the folder of out")
        if path.exists():
            self._check_settings(beside, settings)
        else:
            beside.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
            self._append(",".join(RANKING_COLUMNS) + "\n")

    def resume(self, study_ids: Sequence[str], batch_size: int) -> int:
        """The number of studies in complete batches of the table; cuts off an incomplete batch.

        A longer table than is asked for stays as it is.

        Raises:
            DataError: the studies in the table aren't the first of these.
        """
        content = read_bytes(self._path)
        lines = decoded(content[: content.rfind(b"\n") + 1], str(self._path)).splitlines(keepends=True)
        done = [row[0] for row in csv.reader(lines[1:])]
        both = min(len(done), len(study_ids))
        if done[:both] != list(study_ids[:both]):
            raise DataError(f"{self._path} ranks other studies than these settings give; choose another name")
        if len(done) >= len(study_ids):
            return len(study_ids)
        whole = len(done) // batch_size * batch_size
        os.truncate(self._path, sum(len(line.encode()) for line in lines[: 1 + whole]))
        return whole

    def append(self, rows: Sequence[Sequence[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._append(text.getvalue())

    def _append(self, text: str) -> None:
        with open(self._path, "ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def _check_settings(self, beside: Path, settings: dict[str, Any]) -> None:
        try:
            saved = read_json(beside)
        except DataError as error:
            raise SettingError(f"{self._path} is there, but not its settings ({error}); choose another name") from error
        if not isinstance(saved, dict):
            raise SettingError(f"{self._path} is there, but {beside} holds no settings; choose another name")
        for name, value in settings.items():
            if saved.get(name) != value:
                raise SettingError(
                    f"{self._path} was made with {name} {saved.get(name)!r}, now it is {value!r}; choose another name"
                )
