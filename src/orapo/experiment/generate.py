"""Reports for a user's own images, batch by batch: open, write, read, print."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TextIO

from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from rich.console import Console
from rich.progress import Progress
from torch.utils.data import DataLoader

from orapo.batches import RolloutGroup, StudyBatch
from orapo.data.collate import Collate, CollateReadable, OpenedStudies, ReadableStudies
from orapo.data.images import load_study_images
from orapo.display import visible
from orapo.errors import DataError, SettingError
from orapo.experiment.generate_config import Generation
from orapo.experiment.quiet import quiet_libraries
from orapo.experiment.report_reading import ABOUT_PHANTOMS, NOT_CLINICAL, GeneratedStudy, ReportReader
from orapo.experiment.targets import build
from orapo.policy.checkpoints import load_checkpoint
from orapo.training.distributed import sampling_seed
from orapo.training.metrics import Stopwatch


def generate(generation: Generation) -> None:
    """Writes what the config asks for, each batch as soon as it is done.

    Raises:
        OrapoError: whatever the user can mend; a ``DataError`` at the end when some studies could not be read.
    """
    quiet_libraries()
    settings, images = generation.settings, generation.images
    writer = _Writer(generation)
    notice = f"{NOT_CLINICAL} {ABOUT_PHANTOMS}" if generation.is_embedded else NOT_CLINICAL
    passed_over = f", {_counted(images.num_passed_over, 'other file')} passed over" if images.num_passed_over else ""
    _tell(f"{_counted(len(images.studies), 'study')}{passed_over}; model: {generation.name}. {notice}")
    num_unreadable, seconds = 0, []
    rexrank = generation.rexrank
    output = nullcontext(None) if rexrank else _output(settings.out)
    # A bar where a terminal watches and the reports go into a file.
    is_hidden = settings.out is None or not sys.stderr.isatty()
    with output as file, Progress(console=Console(stderr=True), transient=True, disable=is_hidden) as progress:
        bar = progress.add_task("Writing reports", total=len(images.studies))
        if file is not None and settings.format == "text":
            print(f"{notice} Model: {generation.name}\n", file=file, flush=True)
        for opened in writer.opened():
            for reason in opened.unreadable:
                _tell(f"left out: {reason}")
            for written in writer.written(opened.batch, notice):
                if rexrank is not None:
                    rexrank.add(written.study.study_id, written.readings[0].report)
                else:
                    print(
                        written.json_line() if settings.format == "json" else visible(written.text()),
                        file=file,
                        flush=True,
                    )
                seconds += [written.seconds_per_image] * len(written.study.image_paths)
            num_unreadable += len(opened.unreadable)
            progress.advance(bar, settings.batch_size)
    if rexrank is not None:
        rexrank.finish()
    if seconds:
        _tell(
            f"{_counted(len(seconds), 'image')}, {sum(seconds) / len(seconds):.3f} seconds per image, opening left out"
        )
    if num_unreadable:
        raise DataError(f"{num_unreadable} of {len(images.studies)} studies could not be read; each is named above")


class _Writer:
    """The loaded model with everything that turns studies into readings."""

    def __init__(self, generation: Generation) -> None:
        settings = generation.settings
        self._generation = generation
        self._fabric = open_fabric(settings.accelerator, settings.precision)
        self._policy = load_checkpoint(generation.model, generation.base)
        # Moves and casts the policy itself; the wrapper around it is for training.
        self._fabric.setup_module(self._policy)
        labeler = build(generation.config.labeler, "labeler")
        self._reader = ReportReader(labeler, uncertain_is_positive=settings.uncertain_is_positive)
        self._places = {study.study_id: place for place, study in enumerate(generation.images.studies)}

    def opened(self) -> Iterator[OpenedStudies]:
        """Batches in order, one in memory at a time (and one more for each worker)."""
        policy, settings = self._policy, self._generation.settings
        collate = Collate(policy.processor, policy.prompt, max_report_tokens=None)
        load_images = partial(load_study_images, longest_side=settings.longest_side)
        rows = collate.rows(load_images, self._generation.images.studies)
        yield from DataLoader(
            ReadableStudies(rows),
            batch_size=settings.batch_size,
            collate_fn=CollateReadable(collate),
            num_workers=settings.num_workers,
            prefetch_factor=1 if settings.num_workers else None,
        )

    def written(self, batch: StudyBatch | None, notice: str) -> Iterator[GeneratedStudy]:
        """Generates for a batch; yields its studies with their reports, none without a batch."""
        if batch is None:
            return
        watch = Stopwatch()
        with watch.phase("generate"), self._fabric.autocast():
            groups = self._groups(batch.to(self._fabric.device))
        for study, of_study in zip(batch.studies, groups, strict=True):
            reports = [pair for group in of_study for pair in zip(group.texts, group.finished, strict=True)]
            yield GeneratedStudy(
                study=study,
                readings=tuple(self._reader.read(text, is_finished=finished) for text, finished in reports),
                seconds_per_image=watch.seconds["generate"] / len(batch) / len(study.image_paths),
                model=self._generation.name,
                notice=notice,
            )

    def _groups(self, batch: StudyBatch) -> list[tuple[RolloutGroup, ...]]:
        """Per study the group of the greedy report and, if there are any, that of the drawn ones."""
        settings = self._generation.settings
        greedy = self._policy.roll_out(batch, settings.greedy)
        if settings.drawn is None:
            return [(group,) for group in greedy]
        # By place among all studies: the same draws whatever the batch size, and whatever could not be read.
        seeds = [sampling_seed(settings.seed, 0, self._places[study.study_id]) for study in batch.studies]
        return list(zip(greedy, self._policy.roll_out(batch, settings.drawn, seeds), strict=True))


def open_fabric(accelerator: str, precision: object) -> Fabric:
    """One device; raises SettingError where there is none of that kind, or it can't have that precision."""
    try:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise SettingError(
            f"accelerator={accelerator} precision={precision}: {' '.join(str(error).split())}"
        ) from error


@contextmanager
def _output(out: str | None) -> Iterator[TextIO]:
    """Standard output, or a new file; names of files that are no UTF-8 are escaped, as JSON escapes them too."""
    if out is None:
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
        yield sys.stdout
        return
    try:
        with Path(out).expanduser().open("x", encoding="utf-8", errors="backslashreplace") as file:
            yield file
    except FileExistsError:
        raise SettingError(f"out={out} exists already; choose another name") from None


def _counted(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    return f"{count} studies" if noun == "study" else f"{count} {noun}s"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
