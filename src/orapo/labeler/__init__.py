"""Report text to 14 label states, with the evidence for each and what is stated of it: side, place, severity, change.

The labels mean what those of the original CheXpert labeler mean, so that they can be compared with published ones. By
default, as there:

- A heart or mediastinum called neither normal nor stable is positive; one called stable is uncertain, also where
  it is called enlarged in the same breath. "Borderline heart size" is uncertain, other borderline sizes are positive.
- Possible, probable, suspected, suspicious or concerning for, may, could, question, favor, versus, secondary to, is
  compatible with, correlate clinically for and "a or b" hedge. Likely, suggestive of, presumed, favored over, should be
  considered, evaluate for and correlate for assert. "No new" is uncertain, "history of" is negative.
- Vascular congestion is never better than uncertain; heart failure makes cardiomegaly uncertain.
- A lesion isn't a Lung Lesion, plaques and calcifications aren't Pleural Other while any fibrosis is, fluid overload
  isn't Edema.
- Which other abnormalities speak against No Finding is said in ``lexicon/other_abnormalities.toml``.

It departs from the original where that slips. Negation and lists are read without a parser. What a denial takes for
granted is there ("no cavitation in the consolidation", "neither effusion has grown", "no change in the edema"); "the
left one" and "except a trace" speak of what was named last; words in brackets are read by themselves. Words are matched
whole, with inflections, abbreviations, common misspellings and one slip in a long word: an ETT is a device, "platelike"
is none. The heart or the mediastinum as a landmark ("projects over the heart") is no mention. What is unlikely is
uncertain. Positive beats uncertain beats negative, always. ``Labeler("original")`` adds the accidents of substring
search and of the order in which its code aggregates; not its rule that a sentence beginning "findings: no" is negative
as a whole.
"""

from orapo.labeler.attributes import Attributes, Certainty, Change, Place, Severity, Side
from orapo.labeler.labeler import Labeler
from orapo.labeler.quirks import Quirks
from orapo.labeler.types import LabeledReport, Mention

__all__ = [
    "Attributes",
    "Certainty",
    "Change",
    "LabeledReport",
    "Labeler",
    "Mention",
    "Place",
    "Quirks",
    "Severity",
    "Side",
]
