"""A shallow grammar of radiology prose: which sentences are statements, and where their clauses are.

    sentence  = clause ((";" | "," | but | and) clause)*
    clause    = [opening] (list [verb phrase]* | "there" be list | pronoun verb phrase | predicate)
    list      = phrase ((",", and, or) phrase)*        phrase = noun phrase [what modifies it]*
    verb phrase = verbs (predicate | list | prepositional phrase)

Telegraphic style is ordinary here ("Small left effusion.", "Heart size normal."), so a list alone is a clause. The
grammar accepts more than good English and refuses what no reader would take for a statement: two phrases side by side,
a preposition, article or conjunction without its noun, a verb without its complement, one finding inside another.
"""

import re

from orapo.reward.meaning import (
    check_agreement,
    check_attachment,
    check_breadth,
    check_equation,
    check_list,
    check_predicate,
)
from orapo.reward.noun_phrases import NounPhrase
from orapo.reward.symbols import Symbols
from orapo.reward.tokens import IllFormedError, Token
from orapo.reward.word_classes import END, WordClasses
from orapo.reward.word_order import check_verbs

# Over the class string after chunking: "N" a noun phrase, other letters as in CLASS_LETTERS.
_VERBS = re.compile(r"[klt]*[bhz:](?:[klt]*(?:i[lt]*(?=[klt]*[bhz]))?[bhz])*[lt]*(?:d(?=[lpj]))?")
_VERB_AHEAD = re.compile(r"(?:(?:l*i+l*N|l*p))*[klt]*[bhz:]")
_PREDICATE = re.compile(r"[lt]*[pjyo](?:l*[pyo])*(?:(?:,?c|,)(?!N)[lt]*[pjyo](?:l*[pyo])*(?![klt]*[bhz]))*")
_BARE_PREDICATE = re.compile(r"[lt]*p")
_ATTACHMENT = re.compile(r",?[lt]*(?:i?l*[py](?:l*[py])*(?:,?c[lt]*[pyj])*l*)?i{1,3}(?=[Ne])")
_AND_PLACE = re.compile(r"(?:,?c|,)l*(?=N)")
_SAME_AGAIN = re.compile(r",?ci(?=N)")
_TRAILING = re.compile(r",l+jl*(?=$|[,;])|l+(?![pji:b])|,?[lt]*p(?:l*p)*(?:(?:,?c|,)[lt]*p)*l*")
_MORE_PREDICATE = re.compile(r",?c(?=[lt]*[pj])")
_RELATIVE = re.compile(r",?i?r(?=[klt]*[bhz])")
_INFINITIVE = re.compile(r"i(?=z)")
_PARTICIPLE = re.compile(r",?[lt]*y(?=N)")
_CLOSING_COMMA = re.compile(r",(?=[klt]*[bhz])")
_SEPARATOR = re.compile(r"(?:,?c|,)l*(?=N)")
_CLAUSE_BREAK = re.compile(r",?s|;|,?c|,")
_MORE_VERBS = re.compile(r"(?:,?c|,)(?=[klt]*[bhz])")
_OPENING = re.compile(r"l+,?(?=[Nxie])|i+N(?=,)|(?=i)")
_INVERSION = re.compile(r"[lt]*[py]+l*(?=[bhz])")
_PREDICATE_AHEAD = re.compile(r",?c?,?[lt]*p+l*(?:[bhz]|N)")
_HEDGES = frozenset({"likely", "possibly", "probably", "presumably", "mostly", "most likely", "perhaps"})


class ParsedSentence(Symbols):
    """One sentence, parsed from left to right.

    Args:
        sentence: without its final stop.
        classes: what is known of words.

    Raises:
        IllFormedError: it isn't a statement; the message is the reason.
    """

    def __init__(self, sentence: str, classes: WordClasses) -> None:
        super().__init__(sentence, classes)
        self._classes = classes
        self._complement: NounPhrase | None = None
        check_breadth([part for part in self._parts if isinstance(part, NounPhrase)])
        self.clauses: list[tuple[int, int]] = []
        """First and one past the last character of each clause."""
        self._sentence()

    # --- sentence and clause ------------------------------------------------------------------------------------------
    def _sentence(self) -> None:
        opens_dependent = self.symbol() == "s"  # "When she was admitted there was ..."
        self.position += opens_dependent
        self._clause()
        while not self.at_end:
            if self.take(_CLAUSE_BREAK) is None and not (opens_dependent and self.symbol() in "xe"):
                raise self.refuse()
            self._clause()

    def _clause(self) -> None:
        first = self.position
        while self._opening():
            pass
        symbol = self.symbol()
        if symbol == "x":
            self._there()
        elif symbol == "e":
            self.position += 1
            if not self.at_end:
                self._verb_phrases([])
        elif symbol == "N":
            self._noun_clause()
        elif self.ahead(_INVERSION):
            self.take(_INVERSION)
            self._verb_phrases([])
        elif symbol in "zk":
            self._verb_phrases([])
        elif self.ahead(_BARE_PREDICATE):
            self._predicate([])
        else:
            raise self.refuse()
        self.clauses.append((self.start_of(first), self.end_of(self.position - 1)))

    def _opening(self) -> bool:
        match = _OPENING.match(self._symbols, self.position)
        if match is None or match.end() == self.position:
            if self.symbol() != "i":
                return False
            self.position += 1
            while self.symbol() == "i":
                self.position += 1
            self._modified_phrase()
            if self.symbol() == ",":
                self.position += 1
            if self.symbol() == END:
                raise IllFormedError("a place without a statement")
            return True
        self.position = match.end()
        if self.symbol() == ",":
            self.position += 1
        return True

    def _there(self) -> None:
        self.position += 1
        verbs = self._verbs()
        self.take(_INVERSION) if self.symbol(1) == "N" and self.symbol() == "p" else None
        phrases = self._list(in_complement=True)
        if verbs and verbs[0].text in ("are", "were") and len(phrases) == 1:
            check_agreement(phrases, verbs[0].text, self._classes)

    def _noun_clause(self) -> None:
        first = self.position
        subjects = self._list(in_complement=False)
        if "," in self._symbols[first : self.position]:
            self.take(_CLOSING_COMMA)  # "the opacity, which has grown, is ..."
        if self.ahead(_VERBS):
            self._verb_phrases(subjects)

    # --- phrases ------------------------------------------------------------------------------------------------------
    def _list(self, *, in_complement: bool) -> list[NounPhrase]:
        phrases = [self._modified_phrase()]
        while (match := _SEPARATOR.match(self._symbols, self.position)) is not None:
            if self._starts_clause(match, phrases[-1], in_complement=in_complement):
                break
            self.position = match.end()
            phrases.append(self._modified_phrase())
        check_list(phrases)
        return phrases

    def _starts_clause(self, separator: re.Match[str], before: NounPhrase, *, in_complement: bool) -> bool:
        """True where the phrase after ``separator`` is the subject of a clause of its own."""
        if _VERB_AHEAD.match(self._symbols, separator.end() + 1) is None:
            return False
        after = self._parts[separator.end()]
        words = {part.text for part in self._parts[separator.start() : separator.end()] if isinstance(part, Token)}
        assert isinstance(after, NounPhrase)
        if words & {"or", "nor", "/"}:
            return False
        # "No effusion, pneumothorax and nodule is seen" is one list; "no effusion, and the heart is normal" is not.
        distinct = not after.groups or after.negated or after.tokens[0].word.letter == "d"
        if before.negated:
            return distinct
        return in_complement or not words & {"and", "&", "as well as"}

    def _modified_phrase(self) -> NounPhrase:
        phrase = self.phrase_here()
        self.position += 1
        self._complement = None
        while self._modifier(phrase):
            pass
        return phrase

    def _modifier(self, host: NounPhrase) -> bool:
        """Reads one thing that follows a noun phrase and belongs to it; False when there is none."""
        if self._relative(host) or self._attachment(host) or self._participle():
            return True
        if self.symbol() == "N":
            first = self.phrase_here().tokens[0]
            if first.word.letter != "y" and first.text not in _HEDGES:
                raise IllFormedError(f"two phrases side by side: {host.head.singular!r}, {first.text!r}")
            check_equation([host], [Token("represent", first.word, 0, 0)], [self.phrase_here()], self._classes)
            self.position += 1
            return True
        if self.ahead(_MORE_VERBS) or self.ahead(_PREDICATE_AHEAD):
            return False
        trailing = self.take(_TRAILING)
        if trailing is None:
            return False
        check_predicate([host], [part for part in trailing if isinstance(part, Token)], self._classes)
        return True

    def _relative(self, host: NounPhrase | None) -> bool:
        if self.take(_RELATIVE) is None:
            return False
        self._verb_phrase([host] if host else [], agree=False)
        return True

    def _participle(self) -> bool:
        """Reads "silhouetting the diaphragm" or "to suggest pneumonia"."""
        if (infinitive := self.take(_INFINITIVE)) is not None:
            check_verbs([part for part in infinitive if isinstance(part, Token)])
            self._verb_phrase([], agree=False)
            return True
        if self.take(_PARTICIPLE) is None:
            return False
        self._modified_phrase()
        return True

    def _attachment(self, host: NounPhrase | None) -> bool:
        taken = self.take(_ATTACHMENT)
        if taken is None:
            return False
        prepositions = [part.text for part in taken if isinstance(part, Token) and part.word.letter == "i"]
        if self.symbol() == "e":
            self.position += 1
            return True
        direct = all(not isinstance(part, Token) or part.word.letter in "il" for part in taken)
        complement = self.phrase_here()
        if prepositions == ["of"] and self._complement is not None:
            host = self._complement  # "in the fracture of the nodule": the nodule belongs to the fracture
        check_attachment(host if direct else None, prepositions[-1], complement, self._classes)
        self._complement = complement
        self.position += 1
        while (match := _SAME_AGAIN.match(self._symbols, self.position)) is not None:
            again = self._parts[match.end() - 1]
            if not isinstance(again, Token) or again.text != prepositions[-1]:
                break  # "evidence of effusion, or of pneumothorax" goes on
            self.position = match.end()
            check_attachment(host if direct else None, again.text, self.phrase_here(), self._classes)
            self.position += 1
        while (match := _AND_PLACE.match(self._symbols, self.position)) is not None:
            following = self._parts[match.end()]
            assert isinstance(following, NounPhrase)
            # "in the left base and right apex" goes on; "in the left base, no effusion" doesn't.
            kinds = {complement.head.letter, following.head.letter}
            if (
                following.negated
                or following.groups
                or "f" in kinds
                or _VERB_AHEAD.match(self._symbols, match.end() + 1)
            ):
                break
            self.position = match.end() + 1
        return True

    # --- verbs --------------------------------------------------------------------------------------------------------
    def _verbs(self) -> list[Token]:
        taken = self.take(_VERBS)
        if taken is None:
            raise self.refuse()
        group = [part for part in taken if isinstance(part, Token)]
        check_verbs(group)
        return [token for token in group if token.word.letter in "bhz:"]

    def _verb_phrases(self, subjects: list[NounPhrase]) -> None:
        self._verb_phrase(subjects, agree=True)
        while self.take(_MORE_VERBS) is not None:
            self._verb_phrase(subjects, agree=True)

    def _verb_phrase(self, subjects: list[NounPhrase], *, agree: bool) -> None:
        start = self.position
        verbs = self._verbs()
        if agree and subjects and "k" not in self._symbols[start : self.position]:
            check_agreement(subjects, verbs[0].text, self._classes)
        if self.symbol() == "N":
            complements = self._list(in_complement=True)
            check_equation(subjects, verbs, complements, self._classes)
        elif self._attachment(subjects[-1] if len(subjects) == 1 else None):
            while self._relative_or_attachment() or self.take(_TRAILING) is not None:
                pass
        elif self.ahead(_PREDICATE) and (verbs[-1].word.letter != "z" or verbs[-1].text in self._classes.linking):
            self._predicate(subjects, negated="t" in self._symbols[start : self.position])
        elif self.symbol() == "e":
            self.position += 1
        elif not self._needs_no_object(verbs) and not self.just_read(_HEDGES):
            raise self.refuse()

    def _needs_no_object(self, verbs: list[Token]) -> bool:
        is_passive = len(verbs) > 1 and verbs[-2].word.letter == "b" and verbs[-1].text.endswith("ed")
        return is_passive or verbs[-1].text in self._classes.intransitive

    def _predicate(self, subjects: list[NounPhrase], *, negated: bool = False) -> None:
        words = [part for part in self.take(_PREDICATE) or () if isinstance(part, Token)]
        if not negated:
            check_predicate(subjects, words, self._classes)
        if self.symbol() == "N" and words[-1].word.letter == "y":
            self._list(in_complement=True)
        located = words[-1].text in self._classes.predicate_only and len(subjects) == 1
        self._complement = None
        while self._relative_or_attachment(subjects[0] if located else None) or self.take(_TRAILING) is not None:
            pass
        if self.take(_MORE_PREDICATE) is not None:
            self._predicate(subjects, negated=negated)

    def _relative_or_attachment(self, host: NounPhrase | None = None) -> bool:
        return self._relative(None) or self._attachment(host) or self._participle()
