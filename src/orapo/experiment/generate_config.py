"""The config of generate.py as typed settings, checked before anything heavy is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from omegaconf import DictConfig
from pydantic import AfterValidator, BeforeValidator, NonNegativeInt, PositiveFloat, PositiveInt

from orapo.data.images import LongestSide
from orapo.data.own_images import PER_FOLDER, OwnImages, ReportPer, find_own_images
from orapo.errors import CheckpointError, SettingError
from orapo.experiment.config import Target, read_model
from orapo.experiment.config_tree import without_training
from orapo.experiment.finished_run import CONFIG_FILE, MODEL_FOLDER, model_of_folder, model_of_run, run_config, with_run
from orapo.experiment.machine import refuse_unwritable
from orapo.experiment.rexrank import RexrankFile
from orapo.experiment.targets import check, plain
from orapo.experiment.trainer_settings import Accelerator, Precision
from orapo.policy.embedded import EMBEDDED
from orapo.policy.settings import ModelSettings, SamplingSettings
from orapo.policy.tiny import base_folder
from orapo.prompt import ContextElement, Prompt
from orapo.records import Context, PriorStudy
from orapo.settings import Count, NumWorkers, PositiveFraction, Seed, Text, read, settings

SECTIONS = ("model", "prompt", "labeler")
"""Of the run as a whole."""
OF_THE_RUN = {
    "max_new_tokens": "rollout.max_new_tokens",
    "min_new_tokens": "rollout.min_new_tokens",
    "batch_size": "training.eval_batch_size",
    "longest_side": "data.source.longest_side",
    "uncertain_is_positive": "data.uncertain_is_positive",
    "precision": "trainer.precision",
}
"""Keys that a run answers, by the run's own key. Not its accelerator: reports may be written on another machine."""
TINY = "tiny"
_MODEL_FILES = ("config.json", "adapter_config.json")


def _new_file(out: str) -> str:
    path = Path(out).expanduser()
    if path.exists():
        raise ValueError(f"is {out!r}, which exists already; choose another name")
    if not path.parent.is_dir():
        raise ValueError(f"is {out!r}, which can't be written: there is no folder {path.parent}")
    refuse_unwritable(path.parent, "the folder of out")
    return out


def _paths(image: object) -> tuple[str, ...]:
    paths = image if isinstance(image, list | tuple) else [image]
    named = [path for path in paths if isinstance(path, str) and path.strip()]
    if not named or len(named) < len(paths):
        raise ValueError(f"is {image!r}; it must be a file, a folder, or a list of one study's files")
    return tuple(str(Path(path).expanduser()) for path in named)


ImagePaths = Annotated[tuple[str, ...], BeforeValidator(_paths)]
"""Several for the images of one study."""


@settings
class GivenContext:
    """The section ``context`` of generate.yaml, whose comments say what each key means; None for what isn't known."""

    indication: Text | None = None
    comparison: Text | None = None
    technique: Text | None = None
    age_years: NonNegativeInt | None = None
    sex: Literal["F", "M"] | None = None
    prior_report: Text | None = None
    prior_image: ImagePaths | None = None
    prior_days_before: NonNegativeInt | None = None

    def __post_init__(self) -> None:
        if self.prior_days_before is not None and not self._has_prior:
            raise SettingError("prior_days_before is given without prior_report or prior_image; it tells of them")

    @property
    def given(self) -> Mapping[str, ContextElement]:
        """The keys that are given, each with the element of the prompt that it fills."""
        elements: dict[str, ContextElement] = {
            "indication": "indication",
            "comparison": "comparison",
            "technique": "technique",
            "age_years": "age_sex",
            "sex": "age_sex",
            "prior_report": "prior_report",
            "prior_image": "prior_image",
        }
        return {key: element for key, element in elements.items() if getattr(self, key) is not None}

    def told_of(self, images: OwnImages, prompt: Prompt) -> OwnImages:
        """The one study with this context; without any, the studies as they are.

        Raises:
            SettingError: there are several studies, or the model's prompt tells nothing of what is given.
            DataError: the prior image does not exist.
        """
        for key, element in self.given.items():
            if len(images.studies) > 1:
                raise SettingError(f"context.{key} is of one study, and image= names {len(images.studies):,}")
            if element not in prompt.context:
                told = ", ".join(prompt.context) or "nothing"
                raise SettingError(
                    f"context.{key} is given, and the model's prompt tells {told} beside the images; a model that was "
                    f"trained with prompt.context=[{element}] takes it"
                )
        if not self.given:
            return images
        (study,) = images.studies
        return replace(images, studies=(replace(study, context=self._context(study.study_id)),))

    @property
    def _has_prior(self) -> bool:
        return self.prior_report is not None or self.prior_image is not None

    def _context(self, study_id: str) -> Context:
        prior = None
        if self._has_prior:
            paths: tuple[str, ...] = ()
            if self.prior_image is not None:
                (shown,) = find_own_images(self.prior_image, PER_FOLDER, "context.prior_image").studies
                paths = shown.image_paths
            views, report = ("",) * len(paths), self.prior_report or ""
            prior = PriorStudy(f"{study_id}, prior", paths, views, report, self.prior_days_before)
        return Context(
            indication=_one_line(self.indication),
            comparison=_one_line(self.comparison),
            technique=_one_line(self.technique),
            age_years=self.age_years,
            sex=self.sex or "",
            prior=prior,
        )


@settings
class Chosen:
    """The model to use where it isn't that of the config group."""

    checkpoint: Text | None


@settings
class GenerateSettings(Chosen):
    """The keys of generate.yaml, whose comments say what each means."""

    image: ImagePaths | None
    rexrank: Text | None
    image_root: Text
    rexrank_images: Literal["all", "key"]
    base: Text | None
    report_per: ReportPer
    num_reports: Count
    temperature: PositiveFloat
    top_p: PositiveFraction
    seed: Seed
    max_new_tokens: PositiveInt
    min_new_tokens: NonNegativeInt
    batch_size: Count
    num_workers: NumWorkers
    longest_side: LongestSide | None
    uncertain_is_positive: bool
    accelerator: Accelerator
    precision: Precision
    format: Literal["text", "json"]
    out: Annotated[Text, AfterValidator(_new_file)] | None
    context: GivenContext
    model: ModelSettings
    labeler: Target

    @property
    def greedy(self) -> SamplingSettings:
        """Of the first report, the same as in a run's test and in an evaluation."""
        return SamplingSettings(max_new_tokens=self.max_new_tokens, min_new_tokens=self.min_new_tokens, greedy=True)

    @property
    def drawn(self) -> SamplingSettings | None:
        """The sampling of further reports; None where there are none."""
        if self.num_reports == 1:
            return None
        num_drawn = self.num_reports - 1
        return replace(self.greedy, greedy=False, per_study=num_drawn, temperature=self.temperature, top_p=self.top_p)

    def __post_init__(self) -> None:
        # Both limits are checked where they are used.
        _ = self.greedy
        if self.image is None and self.rexrank is None:
            raise SettingError("image must be given, or rexrank: what the reports are about")
        if self.image is not None and self.rexrank is not None:
            raise SettingError("image and rexrank are given; the reports are about one of them")
        if self.rexrank is not None and (self.out is None or self.num_reports > 1):
            raise SettingError("rexrank needs out=FILE for the leaderboard's file, and num_reports=1")


@dataclass(frozen=True)
class Generation:
    """A whole config, checked; the labeler is still a config.

    Attributes:
        settings: the plain keys.
        images: the studies.
        rexrank: the leaderboard's file that they are from; None for none.
        model: its path is the run's model folder, the checkpoint, or what ``model=`` says.
        base: folder or hub name of a PEFT adapter's base, None where the adapter knows it.
        name: of the model, as the user gave it.
        is_embedded: whether it is the embedded policy, or was trained from it.
        config: the whole config.
    """

    settings: GenerateSettings
    images: OwnImages
    rexrank: RexrankFile | None
    model: ModelSettings
    base: str | None
    name: str
    is_embedded: bool
    config: DictConfig


def read_generation(config: DictConfig, overrides: Sequence[str]) -> Generation:
    """Checks every key, and every value and path that can be checked without building anything heavy.

    Raises:
        SettingError: an unknown, missing or mistyped key, or a value out of range.
        DataError: there is no such image, or none in the folder.
        CheckpointError: there is no such model.
    """
    named = read(Chosen, {"checkpoint": config.get("checkpoint")}).checkpoint
    checkpoint = None if named is None else str(Path(named).expanduser())
    run = _run_folder(checkpoint)
    trained = config if run is None else run_config(run, (MODEL_FOLDER,))
    if run is not None:
        config = with_run(config, trained, overrides, SECTIONS, OF_THE_RUN)
    config = without_training(config, overrides)
    content = plain(config)
    read_model(content)
    settings = read(GenerateSettings, content)
    check(settings.labeler, "labeler")
    model = settings.model
    base, name, started_from = settings.base, checkpoint or model.path, model.path
    if run is not None:
        model, base = model_of_run(model, run, trained, base)
    elif checkpoint is not None:
        started_from = base_folder() if checkpoint == TINY else checkpoint
        model = replace(model_of_folder(model, Path(started_from), overrides), path=started_from)
    is_embedded = started_from in EMBEDDED
    rexrank = _rexrank(settings)
    if rexrank is None:
        images = settings.context.told_of(find_own_images(settings.image or (), settings.report_per), model.prompt)
    else:
        images = OwnImages(rexrank.waiting)
    return Generation(
        settings=settings,
        images=images,
        rexrank=rexrank,
        model=model.for_sampling(),
        base=base,
        name="the embedded policy" if is_embedded and run is None else name,
        is_embedded=is_embedded,
        config=config,
    )


def _rexrank(settings: GenerateSettings) -> RexrankFile | None:
    if settings.rexrank is None:
        return None
    files = [Path(str(name)).expanduser() for name in (settings.rexrank, settings.image_root, settings.out)]
    return RexrankFile(files[0], files[1], settings.rexrank_images, files[2])


def _run_folder(checkpoint: str | None) -> Path | None:
    """The folder where it is a run's, None for the embedded policy, a model, an adapter or a hub name."""
    if checkpoint is None or checkpoint == TINY:
        return None
    folder = Path(checkpoint)
    if (folder / CONFIG_FILE).is_file():
        return folder
    is_hub_name = checkpoint.count("/") == 1 and not checkpoint.startswith((".", "/"))
    if any((folder / name).is_file() for name in _MODEL_FILES) or (is_hub_name and not folder.exists()):
        return None
    problem = f"has no {CONFIG_FILE}, {' or '.join(_MODEL_FILES)}" if folder.exists() else "does not exist"
    raise CheckpointError(
        f"model={checkpoint} {problem}; it must be the folder of a run, of a checkpoint or of a PEFT adapter, a hub "
        "name (owner/name), or a name in conf/model"
    )


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
