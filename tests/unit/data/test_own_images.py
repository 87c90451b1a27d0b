"""Which files are images, which studies they make, and what becomes of those that can't be read."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import noise_image
from torch.utils.data import DataLoader

from orapo.data.collate import Collate, CollateReadable, ReadableStudies, StudyImages
from orapo.data.images import load_study_images
from orapo.data.own_images import find_own_images
from orapo.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images at three levels, and what is none."""
    root = tmp_path / "scans"
    (root / "b").mkdir(parents=True)
    (root / "b.d").mkdir()
    (root / ".hidden").mkdir()
    for name in ("c.png", "a.JPG", "b/2.jpeg", "b/1.png", "b.d/0.png", ".hidden/x.png", ".y.png"):
        noise_image(1, (40, 30)).save(root / name, format="PNG" if name.endswith("png") else "JPEG")
    (root / "z.dcm").write_bytes(b"")
    dicom = b"\0" * 128 + b"DICM"
    for name, content in (("IM0001", dicom), ("1.2.840", dicom), ("DICOMDIR", dicom), ("README", b"no image")):
        (root / name).write_bytes(content)
    (root / "notes.txt").write_text("no image")
    return root


def test_a_folder_is_searched_in_order(folder: Path) -> None:
    found = find_own_images([str(folder)], "image")
    ids = [study.study_id for study in found.studies]
    assert ids == ["1.2.840", "IM0001", "a.JPG", "b/1.png", "b/2.jpeg", "b.d/0.png", "c.png", "z.dcm"]
    assert found.num_passed_over == 3, "DICOMDIR, README, notes.txt"
    assert found.studies[3].image_paths == (str(folder / "b/1.png"),)


def test_the_images_of_a_folder_as_one_study(folder: Path) -> None:
    found = find_own_images([str(folder)], "folder")
    images = {study.study_id: [Path(path).name for path in study.image_paths] for study in found.studies}
    assert images == {
        "scans": ["1.2.840", "IM0001", "a.JPG", "c.png", "z.dcm"],
        "b": ["1.png", "2.jpeg"],
        "b.d": ["0.png"],
    }


def test_a_list_is_one_study_in_its_own_order(folder: Path) -> None:
    named = [str(folder / "c.png"), str(folder / "b/1.png")]
    (study,) = find_own_images(named, "image").studies
    assert study.image_paths == tuple(named)
    assert study.study_id == " + ".join(named)
    assert len(load_study_images(study, 32, None)) == 2
    assert max(load_study_images(study, 32, None)[0].size) == 32


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (["absent.png"], "absent.png does not exist"),
        (["x" * 300 + ".png"], "does not exist"),
        (["notes.txt"], "ends in '.txt'"),
        (["c.png", "b"], "is a folder; a list names the images of one study"),
        ([".hidden/.none"], "holds no image"),
    ],
)
def test_what_is_no_image_is_refused(named: list[str], told: str, folder: Path) -> None:
    (folder / ".hidden/.none").mkdir()
    with pytest.raises(DataError, match=told):
        find_own_images([str(folder / name) for name in named], "image")


def test_what_cannot_be_read_is_set_aside(tmp_path: Path, collate: Collate) -> None:
    for number in range(5):
        noise_image(number, (60 + number, 60)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:200])
    for number in (2, 3):
        (tmp_path / f"{number}.png").write_text("no image")
    studies = find_own_images([str(tmp_path)], "image").studies
    generating = Collate(collate.processor, collate.prompt, None)
    rows = ReadableStudies(StudyImages(partial(load_study_images, longest_side=512), studies))
    loader = DataLoader(rows, batch_size=2, collate_fn=CollateReadable(generating))
    first, second, third = loader
    assert [study.study_id for study in first.batch.studies] == ["0.png"]
    (reason,) = first.unreadable
    assert reason.startswith("study 1.png: image 1.png is truncated or damaged")
    assert second.batch is None
    assert [reason.split(":")[0] for reason in second.unreadable] == ["study 2.png", "study 3.png"]
    assert [study.study_id for study in third.batch.studies] == ["4.png"]
    with Image.open(tmp_path / "4.png") as image:
        alone = generating([(studies[4], (Image.fromarray(np.asarray(image)),))])
    assert torch.equal(third.batch.joined("pixel_values"), alone.joined("pixel_values"))
