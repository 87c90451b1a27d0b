"""Which slips of the original CheXpert labeler are reproduced."""

from dataclasses import dataclass

from orapo.errors import SettingError

QUIRK_MODES = ("none", "original")


@dataclass(frozen=True, slots=True)
class Quirks:
    """Where the labeler follows the original's letter rather than its meaning.

    Attributes:
        vocabulary: "none" matches whole words by their clinical meaning; "original" adds what the original's substring
            search hits ("midline" as a device, any "contour" as the mediastinum).
        negative_and_uncertain_hide_positive: negative, uncertain and positive mentions of one observation give
            uncertain, as its code has it; otherwise positive wins, as its paper has it.
        bare_heart_is_positive: a heart or mediastinum that is called neither normal nor stable counts as enlarged. This
            is the original's rule, so it's on by default and published labels are comparable; off, the words are no
            mention.
    """

    vocabulary: str = "none"
    negative_and_uncertain_hide_positive: bool = False
    bare_heart_is_positive: bool = True

    def __post_init__(self) -> None:
        if self.vocabulary not in QUIRK_MODES:
            raise SettingError(f"quirks.vocabulary is {self.vocabulary!r}; allowed: {', '.join(QUIRK_MODES)}")

    @classmethod
    def named(cls, mode: str) -> "Quirks":
        """The original's rules ("none"), or its accidents as well ("original").

        Raises:
            SettingError: another name.
        """
        if mode not in QUIRK_MODES:
            raise SettingError(f"quirks is {mode!r}; allowed: {', '.join(QUIRK_MODES)}, or a Quirks object")
        return cls(vocabulary=mode, negative_and_uncertain_hide_positive=mode == "original")
