"""Which slips of the original CheXpert labeler are reproduced."""

from dataclasses import dataclass

from orapo.errors import SettingError

QUIRK_MODES = ("none", "original")


@dataclass(frozen=True, slots=True)
class Quirks:
    """Slips of the original labeler that can be reproduced without its parser; all off by default.

    Attributes:
        vocabulary: "none" matches whole words by their clinical meaning; "original" adds what the original's substring
            search hits ("midline" as a device, any "contour" as the mediastinum, any "fibrosis" as pleural) and leaves
            out what it doesn't know.
        negative_and_uncertain_hide_positive: negative, uncertain and positive mentions of one observation give
            uncertain; otherwise positive wins.
        bare_heart_is_positive: a heart or mediastinum of which nothing is said counts as enlarged; otherwise the
            words are no mention.
    """

    vocabulary: str = "none"
    negative_and_uncertain_hide_positive: bool = False
    bare_heart_is_positive: bool = False

    def __post_init__(self) -> None:
        if self.vocabulary not in QUIRK_MODES:
            raise SettingError(f"quirks.vocabulary is {self.vocabulary!r}; allowed: {', '.join(QUIRK_MODES)}")

    @classmethod
    def named(cls, mode: str) -> "Quirks":
        """All quirks off ("none") or all on ("original").

        Raises:
            SettingError: another name.
        """
        if mode not in QUIRK_MODES:
            raise SettingError(f"quirks is {mode!r}; allowed: {', '.join(QUIRK_MODES)}, or a Quirks object")
        is_original = mode == "original"
        return cls(
            vocabulary=mode,
            negative_and_uncertain_hide_positive=is_original,
            bare_heart_is_positive=is_original,
        )
