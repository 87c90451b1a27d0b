"""What makes phantoms harder: fainter and smaller signs, wrong training reports, a mark that goes with a finding."""

from dataclasses import dataclass

from orapo.bounds import require_number
from orapo.chexpert import Observation
from orapo.data.phantoms.findings import FINDINGS
from orapo.errors import SettingError
from orapo.records import Split

_PREFIX = "data.source.difficulty"


@dataclass(frozen=True)
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

    observation: str
    train_rate_with: float
    train_rate_without: float
    held_out_rate_with: float
    held_out_rate_without: float

    def __post_init__(self) -> None:
        allowed = [observation.value for observation in FINDINGS]
        if self.observation not in allowed:
            raise SettingError(f"{_PREFIX}.mark.observation is {self.observation!r}; allowed: {', '.join(allowed)}")
        for key in ("train_rate_with", "train_rate_without", "held_out_rate_with", "held_out_rate_without"):
            require_number(f"{_PREFIX}.mark.{key}", getattr(self, key), at_least=0, at_most=1)

    @property
    def goes_with(self) -> Observation:
        """The observation."""
        return Observation(self.observation)

    def rate(self, split: Split, *, is_there: bool) -> float:
        """How often a study of this split has the mark, by whether it has the observation."""
        if split is Split.TRAIN:
            return self.train_rate_with if is_there else self.train_rate_without
        return self.held_out_rate_with if is_there else self.held_out_rate_without


@dataclass(frozen=True)
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

    sign_contrast: float = 1.0
    sign_size: float = 1.0
    train_noise_rate: float = 0.0
    mark: SpuriousMark | None = None

    def __post_init__(self) -> None:
        require_number(f"{_PREFIX}.sign_contrast", self.sign_contrast, above=0, at_most=1)
        require_number(f"{_PREFIX}.sign_size", self.sign_size, at_least=0.3, at_most=1)
        require_number(f"{_PREFIX}.train_noise_rate", self.train_noise_rate, at_least=0, at_most=1)
        if not (self.mark is None or isinstance(self.mark, SpuriousMark)):
            raise SettingError(f"{_PREFIX}.mark is {self.mark!r}; allowed: null, or the settings of a SpuriousMark")

    def noise_rate(self, split: Split) -> float:
        """How often a report of this split is wrong."""
        return self.train_noise_rate if split is Split.TRAIN else 0.0
