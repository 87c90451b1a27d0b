"""Study sheet and card are written, grow with their text, and mark agreement, misses and false alarms."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.errors import DataError
from orapo.evaluation.figures import BLUE, GREEN, VERMILLION
from orapo.evaluation.report_pairs import ReportPair
from orapo.evaluation.study_pictures import phantom_card, study_sheet

EDEMA, FRACTURE, DEVICES = Observation.EDEMA, Observation.FRACTURE, Observation.SUPPORT_DEVICES
GREY_IMAGE = np.full((56, 56), 128, dtype=np.uint8)


def states(*present: Observation) -> LabelStates:
    return {o: LabelState.POSITIVE if o in present else LabelState.UNMENTIONED for o in OBSERVATIONS}


def pair(true: LabelStates, called: LabelStates, generated_report: str = "There is edema.") -> ReportPair:
    return ReportPair("s1", "Edema of both lungs.", generated_report, true, called)


def num_pixels(path: Path, colour: str, below: int = 0) -> int:
    pixels = np.asarray(Image.open(path).convert("RGB"))[:below] if below else np.asarray(Image.open(path))[..., :3]
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int(np.all(pixels == wanted, axis=-1).sum())


@pytest.mark.parametrize(
    ("true", "called", "colour"),
    [
        (states(EDEMA), states(EDEMA), GREEN),
        (states(FRACTURE), states(), BLUE),
        (states(), states(DEVICES), VERMILLION),
    ],
)
def test_marks_have_the_colour_of_their_kind(
    true: LabelStates, called: LabelStates, colour: str, tmp_path: Path
) -> None:
    path = tmp_path / "sheet.png"
    study_sheet([GREY_IMAGE], [pair(true, called)], path)
    # The legend, in the last 60 rows of pixels, shows all three.
    above_legend = Image.open(path).height - 60
    seen = {mark: num_pixels(path, mark, above_legend) > 0 for mark in (GREEN, BLUE, VERMILLION)}
    assert seen == {mark: mark == colour for mark in (GREEN, BLUE, VERMILLION)}
    assert all(num_pixels(path, mark) > 0 for mark in (GREEN, BLUE, VERMILLION))


def test_sheet_grows_with_studies_and_text(tmp_path: Path) -> None:
    short = pair(states(EDEMA), states(EDEMA))
    heights = {}
    for name, pairs in {
        "one": [short],
        "two": [short, pair(states(), states(), "")],
        "long": [pair(states(), states(), "A long sentence about the $lungs$ and the heart. " * 40)],
    }.items():
        study_sheet([GREY_IMAGE] * len(pairs), pairs, tmp_path / f"{name}.png")
        width, heights[name] = Image.open(tmp_path / f"{name}.png").size
        assert width == 1500
    assert heights["two"] > heights["one"] + 200
    # A long report is cut, so that one study can't fill a page.
    assert heights["one"] + 100 < heights["long"] < 900


def test_sheet_wants_an_image_for_each_study(tmp_path: Path) -> None:
    for images, pairs in [([], []), ([GREY_IMAGE], [])]:
        with pytest.raises(DataError, match="one image for each"):
            study_sheet(images, pairs, tmp_path / "sheet.png")


def test_card_shows_image_report_and_states(tmp_path: Path) -> None:
    labels = dict(states(EDEMA)) | {FRACTURE: LabelState.NEGATIVE, DEVICES: LabelState.UNCERTAIN}
    path = tmp_path / "card.png"
    phantom_card(Image.fromarray(np.full((40, 80, 3), 200, dtype=np.uint8)), "There is edema.", labels, path)
    width, height = Image.open(path).size
    assert width == 1350
    assert 400 < height < 700
    assert num_pixels(path, BLUE) > 0
    assert num_pixels(path, "#c8c8c8") > 10_000
