"""Report text to 14 label states, with the evidence for each."""

from orapo.labeler.labeler import Labeler
from orapo.labeler.quirks import Quirks
from orapo.labeler.types import LabeledReport, Mention

__all__ = ["LabeledReport", "Labeler", "Mention", "Quirks"]
