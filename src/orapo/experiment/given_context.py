"""What a user says of the one study that generate.py writes for: the context that a data set's sources fill."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, NonNegativeInt

from orapo.data.own_images import PER_FOLDER, OwnImages, find_own_images
from orapo.errors import SettingError
from orapo.prompt import ContextElement, Prompt
from orapo.records import Context, PriorStudy
from orapo.settings import Text, settings


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


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
