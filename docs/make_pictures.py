"""Draws the pictures of README and docs: ``python docs/make_pictures.py [RUN_FOLDER]``, of a default run."""

import shutil
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

from orapo.data.phantoms.source import PhantomSource
from orapo.evaluation.study_pictures import image_grid, phantom_card
from orapo.experiment.config import build
from orapo.records import Split

DOCS = Path(__file__).resolve().parent
STUDY_INDEX = 15
"""A test study with several findings."""

HARDER = ("phantoms", "phantoms_hard", "phantoms_spurious")
HARDER_STUDIES = (0, 3, 39, 74)
"""Training studies with different signs, with and without the mark, some with a wrong report in phantoms_noisy."""


def main(run_folder: Path | None) -> None:
    """Writes docs/phantom.png and docs/phantoms_harder.png, and copies the run's learning curve where one is named."""
    source = PhantomSource()
    study = source.study(Split.TEST, STUDY_INDEX)
    phantom_card(source.load_images(study)[0], study.oracle_report, study.labels, DOCS / "phantom.png")
    draw_harder_phantoms(DOCS / "phantoms_harder.png")
    if run_folder is not None:
        shutil.copyfile(run_folder / "learning_curve.png", DOCS / "learning_curve.png")


def draw_harder_phantoms(path: Path) -> None:
    """The same training studies as each of the config files draws them, and their reports."""
    sources = [source_of(name) for name in HARDER]
    noisy = source_of("phantoms_noisy")
    rows = []
    for index in HARDER_STUDIES:
        images = [source.load_images(source.study(Split.TRAIN, index))[0] for source in sources]
        true, told = (source.study(Split.TRAIN, index).oracle_report for source in (sources[0], noisy))
        rows.append((images, f"{true}\n\nphantoms_noisy: {'the same' if told == true else told}"))
    image_grid([*(f"data={name}" for name in HARDER), "Report"], rows, path)


def source_of(data: str) -> PhantomSource:
    """The source of a config file in conf/data."""
    with initialize_config_dir(str(DOCS.parent / "conf"), version_base="1.3"):
        source: PhantomSource = build(compose("evaluate", [f"data={data}"]).data.source, "data.source")
    return source


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit("usage: python docs/make_pictures.py [RUN_FOLDER]")
    main(Path(sys.argv[1]) if len(sys.argv) == 2 else None)
