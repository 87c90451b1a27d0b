"""Draws the pictures of the README: ``python docs/make_pictures.py RUN_FOLDER`` of a default run."""

import shutil
import sys
from pathlib import Path

from orapo.data.phantoms.source import PhantomSource
from orapo.evaluation.study_pictures import phantom_card
from orapo.records import Split

DOCS = Path(__file__).parent
STUDY_INDEX = 15
"""A test study with several findings."""


def main(run_folder: Path) -> None:
    """Writes docs/phantom.png and copies the run's learning curve."""
    source = PhantomSource()
    study = source.study(Split.TEST, STUDY_INDEX)
    phantom_card(source.load_images(study)[0], study.oracle_report, study.labels, DOCS / "phantom.png")
    shutil.copyfile(run_folder / "learning_curve.png", DOCS / "learning_curve.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/make_pictures.py RUN_FOLDER")
    main(Path(sys.argv[1]))
