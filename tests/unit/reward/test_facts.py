import random
import time

import pytest

from orapo.chexpert import Observation
from orapo.labeler import Labeler
from orapo.reward.facts import REPEATED, UNFINISHED, Extraction, extract_facts, read_statement
from orapo.reward.word_classes import load_word_classes

LABELER = Labeler()


def extract(report: str) -> Extraction:
    return extract_facts(report, LABELER.mentions(report))


def facts_of(report: str) -> list[str]:
    return [fact.text for fact in extract(report).facts]


@pytest.mark.parametrize(
    ("salad", "reason"),
    [
        ("heart size pacemaker", "a measure doesn't qualify"),
        ("fracture of a nodule in the bones are intact", "one finding within another"),
        ("effusion effusion pneumothorax edema fracture nodule", "repeats a word"),
        ("left heart of small no the pleural opacity is rib", "doesn't continue"),
        ("effusion pneumothorax edema", "one phrase for"),
        ("small effusion a pneumothorax", "side by side"),
        ("the effusion is intact", "isn't intact"),
        ("normal effusion", "isn't normal"),
        ("the heart is edema", "is no"),
        ("the opacity is a rib", "nothing is anatomy"),
        ("the lungs is clear", "disagree"),
        ("a effusions", "wrong article|singular article"),
        ("a effusion", "wrong article"),
        ("there is a", "article without a noun|doesn't continue|ends in the middle"),
        ("effusion in the", "doesn't continue|ends in the middle"),
        ("effusion and", "ends in the middle"),
        ("effusion is", "ends in the middle"),
        ("no evidence of", "doesn't continue|ends in the middle"),
        ("with effusion", "a place without a statement"),
        ("opacity large in the left lung", "doesn't continue"),
        ("edema lung", "doesn't qualify"),
        ("lungs effusion", "plural doesn't qualify"),
        ("fracture of the lung", "Fracture of the lung"),
        ("effusion of the rib", "Pleural Effusion of the rib"),
        ("there is a left right nodule", "several sides"),
        ("effusion markedly", "grades nothing"),
        ("seen effusion", "not before a noun"),
        ("effusion in place", "only a device"),
        ("effusion is present or absent", "says nothing"),
        ("zog blick effusion frub", "unknown words"),
        ("aaaaa effusion", "gibberish"),
        ("effusion � edema", "gibberish"),
        ("xqztk effusion", "gibberish"),
        ("effusion, edema, pneumothorax, fracture, nodule, consolidation, pneumonia", "speaks of 7"),
        ("effusion and effusion", "repeats itself"),
        ("a pleural small effusion", "wrong order: 'pleural' before 'small'"),
        ("opacity in the lower left lobe", "wrong order"),
        ("small multiple nodules", "wrong order"),
        ("a nodule measuring mm 8", "a unit without a number"),
        ("the effusion been has drained", "verbs in the wrong order"),
        ("findings may shows edema", "verbs in the wrong order"),
        ("the effusion not is seen", "verbs in the wrong order"),
        ("removal interval of the tube", "before a noun only"),
        ("decrease with in size", "two prepositions"),
        ("findings are consistent", "lacks what it leads to"),
        ("suggestive pulmonary of edema", "lacks what it leads to"),
        ("evidence elevated of edema", "takes no 'of'"),
        ("the catheter terminates the carina", "takes no object"),
        ("the device is tube", "lacks a determiner"),
        ("the left wall chest", "a part doesn't qualify"),
        ("the seen previously effusion", "not before a noun"),
        ("an opacity is approximately in the base", "counts nothing"),
    ],
)
def test_salad_is_refused_with_its_reason(salad: str, reason: str) -> None:
    clauses, _, given = read_statement(salad)
    assert not clauses
    assert any(part in given for part in reason.split("|")), given


def test_sentence_without_its_end_is_refused() -> None:
    extracted = extract("The lungs are clear. There is a small left pleural effusion")
    assert [fact.text for fact in extracted.facts] == ["The lungs are clear"]
    assert extracted.rejected == {"There is a small left pleural effusion": UNFINISHED}


def test_repeat_is_refused_whatever_its_case_and_spacing() -> None:
    extracted = extract("Small left effusion. The lungs are clear . small  LEFT effusion .")
    assert [fact.text for fact in extracted.facts] == ["Small left effusion", "The lungs are clear"]
    assert extracted.rejected == {"small LEFT effusion": REPEATED}


def test_clauses_become_facts_of_their_own_and_lists_do_not() -> None:
    assert facts_of("The heart is enlarged, and there is mild edema.") == [
        "The heart is enlarged",
        "there is mild edema",
    ]
    assert facts_of("The lungs are clear; no effusion is present.") == ["The lungs are clear", "no effusion is present"]
    assert facts_of("No consolidation, effusion or pneumothorax is seen.") == [
        "No consolidation, effusion or pneumothorax is seen"
    ]
    assert facts_of("Cardiomegaly with mild edema.") == ["Cardiomegaly with mild edema"]


def test_one_bad_clause_refuses_the_sentence() -> None:
    assert facts_of("The lungs are clear, and the effusion is intact.") == []


def test_headings_numbers_and_asides_are_not_statements() -> None:
    report = (
        "FINDINGS:\n1. Cardiomegaly.\n2. Mild edema (right effusion).\n\nIMPRESSION: **No fracture.**\n- Clear lungs.\n"
    )
    assert facts_of(report) == ["Cardiomegaly", "Mild edema", "No fracture", "Clear lungs"]
    assert facts_of("# Findings\n\nNo edema.\n\n## Impression\n\n**Clear lungs.** **No fracture.**") == [
        "No edema",
        "Clear lungs",
        "No fracture",
    ]
    assert facts_of("Lungs: The lungs are clear.") == ["The lungs are clear"]


def test_a_list_stays_with_the_words_that_deny_it() -> None:
    assert facts_of("The lungs are clear, without edema or effusion.") == [
        "The lungs are clear, without edema or effusion"
    ]
    assert facts_of("Clear of focal consolidation, effusion and pneumothorax.") == [
        "Clear of focal consolidation, effusion and pneumothorax"
    ]


def test_facts_know_where_they_stand_and_what_they_say_there() -> None:
    report = "FINDINGS:\n1. NO  edema;\nthe heart\nis enlarged (mild).\n- **Small** left effusion."
    told = [
        (
            report[fact.start : fact.end],
            [(report[m.start : m.end], report[m.cue_start : m.cue_end], m.state.value) for m in fact.mentions],
        )
        for fact in extract(report).facts
    ]
    assert told == [
        ("NO  edema", [("edema", "NO", "negative")]),
        ("the heart\nis enlarged", [("the heart", "enlarged", "positive")]),
        ("Small** left effusion", [("effusion", "", "positive")]),
    ]
    assert facts_of(report)[:2] == ["NO edema", "the heart is enlarged"]


def test_an_aside_is_part_of_a_fact_only_where_it_decides() -> None:
    (fact,) = extract("No pneumothorax (small effusion on the left).").facts
    assert (fact.text, [mention.observation for mention in fact.mentions]) == (
        "No pneumothorax",
        [Observation.PNEUMOTHORAX],
    )


@pytest.mark.parametrize("report", ["", " ", ".", "...", "\n\n", "()", "1.", "-", "no", "?!", "\x00\x01.", "—."])
def test_nothing_gives_nothing(report: str) -> None:
    assert extract(report).facts == ()


@pytest.mark.slow
def test_any_text_is_answered() -> None:
    rng = random.Random(0)
    words = [
        *load_word_classes().words,
        ",",
        ";",
        ":",
        "(",
        ")",
        "/",
        "\n",
        "  ",
        ".",
        "ß",
        "\ufffd",
        "12",
        "3.5",
        "x9y",
    ]
    for _ in range(3000):
        report = " ".join(rng.choice(words) for _ in range(rng.randint(1, 14))) + rng.choice(["", "."])
        for fact in extract(report).facts:
            assert fact.text == " ".join(report[fact.start : fact.end].split())
            for mention in fact.mentions:
                assert fact.start <= mention.start < mention.end <= fact.end
                assert mention.cue_start == -1 or fact.start <= mention.cue_start < mention.cue_end <= fact.end


def test_random_words_of_the_lexicon_rarely_pass() -> None:
    rng = random.Random(1)
    words = [
        word for word, entry in load_word_classes().words.items() if entry.letter in "fajdbinc" and " " not in word
    ]
    passed = sum(bool(read_statement(" ".join(rng.choices(words, k=7)))[0]) for _ in range(2000))
    assert passed / 2000 < 0.02  # 0.002 when this was written


def test_long_runs_end_quickly() -> None:
    runs = ["small and large, " * 14 + "effusion", "of the lung " * 19, "is seen " * 29, "likely " * 59, "no " * 500]
    start = time.perf_counter()
    for run in runs:
        read_statement(run.strip())
    assert time.perf_counter() - start < 0.5
