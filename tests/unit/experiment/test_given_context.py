"""The context that a user of generate.py gives: of one study, and only what the model's prompt tells."""

from pathlib import Path

import pytest
from tests.conftest import noise_image

from orapo.data.own_images import find_own_images
from orapo.errors import DataError, SettingError
from orapo.experiment.generate_config import GivenContext
from orapo.prompt import Prompt


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    for name in ("now.png", "before.png"):
        noise_image(0, (40, 40)).save(tmp_path / name)
    return [str(tmp_path / name) for name in ("now.png", "before.png")]


def test_all_of_it_is_told_of_the_study(paths: list[str]) -> None:
    images = find_own_images(paths[:1], "image")
    prompt = Prompt("Write.", ("indication", "age_sex", "prior_report", "prior_image"))
    given = GivenContext(
        "A cough\nat night.", age_years=0, sex="F", prior_report="Clear.", prior_image=(paths[1],), prior_days_before=2
    )
    (study,) = given.told_of(images, prompt).studies
    assert (study.context.indication, study.context.age_years, study.context.sex) == ("A cough at night.", 0, "F")
    assert study.context.prior is not None
    assert (study.context.prior.image_paths, study.context.prior.report) == ((paths[1],), "Clear.")
    assert (
        "Prior study: 2 days before.\nPrior study: image 1. This study: image 2."
        in prompt.messages(study, 1, 1)[0]["content"][-1]["text"]
    )


def test_an_image_without_its_report_is_told_as_that(paths: list[str]) -> None:
    prompt = Prompt("Write.", ("prior_report", "prior_image"))
    (study,) = GivenContext(prior_image=(paths[1],)).told_of(find_own_images(paths[:1], "image"), prompt).studies
    assert "Report of" not in prompt.messages(study, 1, 1)[0]["content"][-1]["text"]


def test_nothing_given_leaves_all_studies_as_they_are(tmp_path: Path, paths: list[str]) -> None:
    images = find_own_images([str(tmp_path)], "image")
    assert GivenContext().told_of(images, Prompt("Write.", ("indication",))) == images


def test_what_can_not_be_told_is_refused_in_one_line(tmp_path: Path, paths: list[str]) -> None:
    one, two = find_own_images(paths[:1], "image"), find_own_images([str(tmp_path)], "image")
    with pytest.raises(SettingError, match=r"^context.sex is of one study, and image= names 2$"):
        GivenContext(sex="M").told_of(two, Prompt("Write.", ("age_sex",)))
    with pytest.raises(SettingError, match=r"^context.technique is given, and the model's prompt tells indication be"):
        GivenContext(technique="Portable.").told_of(one, Prompt("Write.", ("indication",)))
    gone = GivenContext(prior_image=(str(tmp_path / "gone.png"),))
    with pytest.raises(DataError, match=r"^context.prior_image=.*gone.png does not exist"):
        gone.told_of(one, Prompt("Write.", ("prior_image",)))
    with pytest.raises(SettingError, match=r"^prior_days_before is given without prior_report or prior_image"):
        GivenContext(prior_days_before=3)
    with pytest.raises(SettingError, match="sex is 'X'"):
        GivenContext(sex="X")  # type: ignore[arg-type]
