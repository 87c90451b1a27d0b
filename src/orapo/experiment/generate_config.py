"""The config of generate.py as typed settings, checked before anything heavy is imported."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from orapo.bounds import require_boolean, require_number, require_whole
from orapo.data.images import check_longest_side
from orapo.data.own_images import REPORT_PER, OwnImages, find_own_images
from orapo.errors import CheckpointError, SettingError
from orapo.experiment.config import build, check_keys, plain, settings_from
from orapo.experiment.finished_run import CONFIG_FILE, MODEL_FOLDER, model_of_folder, model_of_run, run_config, with_run
from orapo.policy.settings import ModelSettings, SamplingSettings
from orapo.policy.tiny import base_folder

SECTIONS = ("model", "labeler")
OF_THE_RUN = {
    "max_new_tokens": "rollout.max_new_tokens",
    "min_new_tokens": "rollout.min_new_tokens",
    "batch_size": "training.eval_batch_size",
    "longest_side": "data.source.longest_side",
    "uncertain_is_positive": "data.uncertain_is_positive",
    "precision": "trainer.precision",
}
"""Keys that a run answers, by the run's own key. Not its accelerator: reports may be written on another machine."""
FORMATS = ("text", "json")
TINY = "tiny"
_MODEL_FILES = ("config.json", "adapter_config.json")


@dataclass(frozen=True)
class GenerateSettings:
    """The plain keys of generate.yaml, whose comments say what each means.

    Attributes:
        image: paths; one for a file or a folder, several for the images of one study.
    """

    image: tuple[str, ...]
    checkpoint: str | None
    base: str | None
    report_per: str
    num_reports: int
    temperature: float
    top_p: float
    seed: int
    max_new_tokens: int
    min_new_tokens: int
    batch_size: int
    num_workers: int
    longest_side: int
    uncertain_is_positive: bool
    accelerator: str
    precision: Any
    format: str
    out: str | None

    def __post_init__(self) -> None:
        for key, allowed in (("report_per", REPORT_PER), ("format", FORMATS)):
            if getattr(self, key) not in allowed:
                raise SettingError(f"{key} is {getattr(self, key)!r}; allowed: {', '.join(allowed)}")
        for key in ("num_reports", "max_new_tokens", "batch_size"):
            require_whole(key, getattr(self, key), 1)
        for key in ("seed", "min_new_tokens", "num_workers"):
            require_whole(key, getattr(self, key), 0)
        require_number("temperature", self.temperature, above=0)
        require_number("top_p", self.top_p, above=0, at_most=1)
        require_boolean("uncertain_is_positive", self.uncertain_is_positive)
        check_longest_side(self.longest_side)
        if self.min_new_tokens > self.max_new_tokens:
            raise SettingError(
                f"min_new_tokens is {self.min_new_tokens}; it must be at most max_new_tokens, {self.max_new_tokens}"
            )
        _check_out(self.out)


@dataclass(frozen=True)
class Generation:
    """A whole config, checked; the labeler is still a config.

    Attributes:
        settings: the plain keys.
        images: the studies.
        model: its path is the run's model folder, the checkpoint, or what ``model=`` says.
        base: folder or hub name of a PEFT adapter's base, None where the adapter knows it.
        name: of the model, as the user gave it.
        is_embedded: whether it is the embedded policy, or was trained from it.
        config: the whole config.
    """

    settings: GenerateSettings
    images: OwnImages
    model: ModelSettings
    base: str | None
    name: str
    is_embedded: bool
    config: DictConfig

    @property
    def greedy(self) -> SamplingSettings:
        """Of the first report, the same as in a run's test and in an evaluation."""
        settings = self.settings
        return SamplingSettings(
            max_new_tokens=settings.max_new_tokens, min_new_tokens=settings.min_new_tokens, greedy=True
        )

    @property
    def drawn(self) -> SamplingSettings | None:
        """Of the other reports; None where there are none."""
        settings = self.settings
        if settings.num_reports == 1:
            return None
        return replace(
            self.greedy,
            greedy=False,
            per_study=settings.num_reports - 1,
            temperature=settings.temperature,
            top_p=settings.top_p,
        )


def read_generation(config: DictConfig, overrides: Sequence[str]) -> Generation:
    """Checks every key, and every value and path that can be checked without building anything heavy.

    Args:
        config: as composed from generate.yaml and the command line.
        overrides: the command line, which stands above what a run says.

    Raises:
        SettingError: an unknown, missing or mistyped key, or a value out of range.
        DataError: there is no such image, or none in the folder.
        CheckpointError: there is no such model.
    """
    checkpoint = None if config.get("checkpoint") is None else str(Path(str(config.checkpoint)).expanduser())
    run = _run_folder(checkpoint)
    if run is not None:
        config = with_run(config, run_config(run, (MODEL_FOLDER,)), overrides, SECTIONS, OF_THE_RUN)
    content = plain(config)
    known = [*(field.name for field in fields(GenerateSettings)), *SECTIONS]
    check_keys(content, known, known, "")
    given = {key: value for key, value in content.items() if key not in SECTIONS}
    given["image"] = _paths(given["image"])
    settings = settings_from(GenerateSettings, given, "")
    model: ModelSettings = build(config.model, "model")
    base, name, started_from = settings.base, checkpoint or model.path, model.path
    if run is not None:
        model, base = model_of_run(model, run, base)
    elif checkpoint is not None:
        started_from = base_folder() if checkpoint == TINY else checkpoint
        model = replace(model_of_folder(model, Path(started_from), overrides), path=started_from)
    is_embedded = started_from == base_folder()
    return Generation(
        settings=settings,
        images=find_own_images(settings.image, settings.report_per),
        model=model.for_sampling(),
        base=base,
        name="the embedded policy" if is_embedded and run is None else name,
        is_embedded=is_embedded,
        config=config,
    )


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


def _paths(image: object) -> tuple[str, ...]:
    paths = image if isinstance(image, list) else [image]
    named = [path for path in paths if isinstance(path, str) and path.strip()]
    if not named or len(named) < len(paths):
        raise SettingError(f"image is {image!r}; it must be a file, a folder, or a list of one study's files")
    return tuple(str(Path(path).expanduser()) for path in named)


def _check_out(out: str | None) -> None:
    if out is None:
        return
    if not isinstance(out, str) or not out.strip():
        raise SettingError(f"out is {out!r}; it must be a file, or null for standard output")
    path = Path(out).expanduser()
    if path.exists():
        raise SettingError(f"out={out} exists already; choose another name")
    if not path.parent.is_dir():
        raise SettingError(f"out={out} can't be written: there is no folder {path.parent}")
