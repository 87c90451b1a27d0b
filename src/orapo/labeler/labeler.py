"""The rule labeler: report text to the 14 CheXpert label states, with evidence."""

from collections.abc import Iterable

from orapo.chexpert import LabelStates
from orapo.labeler.aggregation import aggregate_mentions
from orapo.labeler.assertion import Assertion, assert_sentence
from orapo.labeler.ellipsis import leaves_out_noun
from orapo.labeler.lexicon import load_lexicon
from orapo.labeler.quirks import Mode, Quirks
from orapo.labeler.scanner import mask_digits
from orapo.labeler.sentences import split_sentences
from orapo.labeler.types import LabeledReport, Mention
from orapo.records import MentionSpan
from orapo.settings import checked

_MOST_REMEMBERED_SENTENCES = 50_000


class Labeler:
    """Labels chest X-ray reports by rules; deterministic, offline, without state that changes an answer.

    Sentences are labelled one by one and remembered, because reports repeat theirs ("No pneumothorax.").
    """

    @checked
    def __init__(self, quirks: Quirks | Mode = "none") -> None:
        """Reads the lexicon.

        Args:
            quirks: "none" is right where the original labeler slips, "original" reproduces those of its slips that
                don't depend on its parser; or any mixture as a ``Quirks``.

        Raises:
            SettingError: an unknown name.
        """
        self.quirks = quirks if isinstance(quirks, Quirks) else Quirks.named(quirks)
        self._lexicon = load_lexicon(self.quirks.vocabulary)
        self._remembered: dict[str, tuple[Assertion, ...]] = {}

    def label(self, text: str) -> LabeledReport:
        """The 14 states of a report and the mentions they rest on; an empty report is No Finding."""
        mentions = self.mentions(text)
        return LabeledReport(self.aggregate(mentions), mentions)

    def mentions(self, text: str) -> tuple[Mention, ...]:
        """Every mention with its asserted state, in reading order.

        Abnormalities outside the other 13 observations appear as mentions of No Finding that speak against it:
        NEGATIVE when present, UNCERTAIN when possible; negated ones are left out.
        """
        mentions = []
        before = ""
        for sentence_index, sentence in enumerate(split_sentences(text)):
            words, report, at, _ = sentence
            found = self._assertions(words)
            if not found and leaves_out_noun(words):
                found = self._continued(before, words)
            before = words
            for observation, state, start, end, cue_start, cue in found:
                first, last = report.span(at + start, at + end)
                cue_first = cue_last = -1
                if cue_start >= 0:
                    cue = words[cue_start : cue_start + len(cue)]
                    cue_first, cue_last = report.span(at + cue_start, at + cue_start + len(cue))
                matched = words[start:end]
                mentions.append(
                    Mention(
                        observation, state, first, last, cue, cue_first, cue_last, matched, words, sentence_index, start
                    )
                )
        return tuple(mentions)

    def aggregate(self, mentions: Iterable[Mention | MentionSpan]) -> LabelStates:
        """The 14 states that a report's mentions add up to, in any order; see ``aggregate_mentions``."""
        return aggregate_mentions(
            mentions, negative_and_uncertain_hide_positive=self.quirks.negative_and_uncertain_hide_positive
        )

    def _continued(self, before: str, words: str) -> tuple[Assertion, ...]:
        """Assertions of a sentence that names no finding and may refer to the one before: "The left one is."."""
        joined = f"{before} ; {words}"
        shift = len(joined) - len(words)
        return tuple(
            assertion._replace(
                start=assertion.start - shift,
                end=assertion.end - shift,
                cue_start=max(-1, assertion.cue_start - shift),
            )
            for assertion in self._assertions(joined)
            if assertion.start >= shift
        )

    def _assertions(self, sentence: str) -> tuple[Assertion, ...]:
        """Those of a sentence, whatever its digits: no form of the lexicon tells them apart."""
        masked = mask_digits(sentence)
        found = self._remembered.get(masked)
        if found is None:
            if len(self._remembered) >= _MOST_REMEMBERED_SENTENCES:
                self._remembered.clear()
            found = assert_sentence(masked, self._lexicon, bare_heart_is_positive=self.quirks.bare_heart_is_positive)
            self._remembered[masked] = found
        return found
