"""What makes phantoms harder: fainter and smaller signs, wrong training reports, a mark that goes with a finding."""

from typing import Annotated

from pydantic import AfterValidator, Field

from orapo.chexpert import Observation
from orapo.data.phantoms.findings import FINDINGS
from orapo.records import Split
from orapo.settings import Fraction, PositiveFraction, settings


def _drawn_observation(name: str) -> str:
    allowed = [observation.value for observation in FINDINGS]
    if name not in allowed:
        raise ValueError(f"is {name!r}; it must be one of {', '.join(allowed)}")
    return name


@settings
class SpuriousMark:
    """A bright tag in a corner of the image that goes with one observation among the training studies.

    An observation counts as there when it is drawn, hedged or not. The same two rates in validation and test make the
    mark worthless there; rates the other way round make it misleading.

    Attributes:
        observation: CheXpert's name of it; not No Finding.
        train_rate_with: share of the training studies with the observation that have the mark, in [0, 1].
        train_rate_without: share of those without it.
        held_out_rate_with: as ``train_rate_with``, of the validation and test studies.
        held_out_rate_without: as ``train_rate_without``, of the validation and test studies.
    """

    observation: Annotated[str, AfterValidator(_drawn_observation)]
    train_rate_with: Fraction
    train_rate_without: Fraction
    held_out_rate_with: Fraction
    held_out_rate_without: Fraction

    @property
    def goes_with(self) -> Observation:
        return Observation(self.observation)

    def rate(self, split: Split, *, is_there: bool) -> float:
        """How often a study of this split has the mark, by whether it has the observation."""
        if split is Split.TRAIN:
            return self.train_rate_with if is_there else self.train_rate_without
        return self.held_out_rate_with if is_there else self.held_out_rate_without


@settings
class Difficulty:
    """How much harder than plain phantoms; the defaults change nothing, to the last bit.

    Attributes:
        sign_contrast: how strongly a sign stands out, in (0, 1]; 1 is plain. Heart and mediastinum have an outline
            instead of a contrast and follow ``sign_size`` alone.
        sign_size: sizes of the signs, and growth of heart and mediastinum, as a share of the plain ones, in [0.3, 1].
        train_noise_rate: share of the training studies whose report, and with it the labels, leaves out a finding
            that is drawn or states one that is not, in [0, 1]. Validation and test stay true.
        mark: a spurious mark; None for none.
    """

    sign_contrast: PositiveFraction = 1.0
    sign_size: Annotated[float, Field(ge=0.3, le=1)] = 1.0
    train_noise_rate: Fraction = 0.0
    mark: SpuriousMark | None = None
