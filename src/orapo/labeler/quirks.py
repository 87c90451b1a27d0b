"""Which slips of the original CheXpert labeler are reproduced."""

from typing import Literal

from orapo.settings import settings

Mode = Literal["none", "original"]
QUIRK_MODES: tuple[Mode, ...] = ("none", "original")


@settings
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

    vocabulary: Mode = "none"
    negative_and_uncertain_hide_positive: bool = False
    bare_heart_is_positive: bool = True

    @classmethod
    def named(cls, mode: Mode) -> "Quirks":
        """The original's rules ("none"), or its accidents as well ("original")."""
        return cls(vocabulary=mode, negative_and_uncertain_hide_positive=mode == "original")
