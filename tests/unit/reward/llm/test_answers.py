import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.records import Fact, Judgement
from orapo.remote.call_errors import InvalidAnswer
from orapo.reward.llm.answers import key_of, nothing_mentioned, read_combined, read_facts, read_verdicts
from orapo.reward.llm.json_text import LONGEST_ANSWER, without_thoughts

REPORT = (
    "The heart is enlarged. There is a small left pleural effusion, no pneumothorax. A similar one is on the right."
)
FACTS = (
    Fact("enlarged heart", 0, 0, 21),
    Fact("small left pleural effusion", 1, 23, 78),
    Fact("no pneumothorax", 1, 23, 78),
)


def facts_answer(*facts: tuple[Any, Any]) -> str:
    return json.dumps({"facts": [{"sentence": sentence, "text": text} for sentence, text in facts]})


def table(**given_: tuple[Any, list[Any]]) -> dict[str, Any]:
    verdicts = {key_of(observation): ("not mentioned", []) for observation in OBSERVATIONS} | given_
    return {key: {"verdict": verdict, "supported_by": support} for key, (verdict, support) in verdicts.items()}


def verdicts_answer(**given_: tuple[Any, list[Any]]) -> str:
    return json.dumps({"verdicts": table(**given_)})


def reason_of(answer: str | None, report: str = REPORT) -> str:
    with pytest.raises(InvalidAnswer) as caught:
        read_facts(answer, report)
    assert "\n" not in caught.value.reason
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


def verdict_reason(answer: str | None, facts: tuple[Fact, ...] = FACTS) -> str:
    with pytest.raises(InvalidAnswer) as caught:
        read_verdicts(answer, facts)
    return caught.value.reason


# ------------------------------------------------------------------------------------------------ facts
def test_facts_are_read_in_order_with_their_sentence() -> None:
    answer = facts_answer((0, "enlarged heart"), (1, " small left\npleural effusion "), (1, "no pneumothorax"))
    assert read_facts(answer, REPORT) == FACTS


def test_no_facts_is_an_answer_also_to_an_empty_report() -> None:
    assert read_facts('{"facts": []}', REPORT) == ()
    assert read_facts('{"facts": []}', "") == ()


@pytest.mark.parametrize(
    "wrapped",
    [
        "{}",
        "  \n{}\n",
        "```json\n{}\n```",
        "```\n{}\n```",
        "Here are the facts: {} I hope this helps.",
        "As in {{braces}} and {{}}: {}",
        '<think>Perhaps {{"facts": []}}, no.</think>{}',
    ],
)
def test_text_around_the_object_is_tolerated(wrapped: str) -> None:
    object_ = facts_answer((0, "enlarged heart"))
    around = wrapped.format(object_)
    assert read_facts(around, REPORT) == FACTS[:1]


DRAFT = '{"facts": []}'
THOUGHTS = (
    "thinking {draft} </think> ",
    "{draft} </THINK> ",
    "<think>{draft}</think>",
    "<Thinking>\n{draft}\n</Thinking>\n",
    "<think>a <think> b </think> {draft} </think> ",
    "<think> {draft} <think> {draft} </think>",
    "<think>a</think> {draft} </think> ",
    "draft {draft} </reasoning> ",
    "<reasoning>{draft}</reasoning>",
    '<think time="3">{draft}</think>',
    "[THINK]{draft}[/THINK]",
    "{draft}[/THINK]",
    "<|begin_of_thought|>{draft}<|end_of_thought|>",
    "<|START_THINKING|>{draft}<|END_THINKING|>",
    "\u25c1think\u25b7{draft}\u25c1/think\u25b7",
    "<seed:think>{draft}</seed:think>",
    "<thought>{draft}</thought>",
    "<scratchpad>{draft}</scratchpad>",
    "<analysis>{draft}</analysis>",
    "<unused94>thought\n{draft}<unused95>",
    "<|channel|>analysis<|message|>{draft}<|end|><|start|>assistant<|channel|>final<|message|>",
    "analysisWe need {draft}.assistantfinal",
    "<|channel>thought\n{draft}<channel|>",
    "&lt;think&gt;{draft}&lt;/think&gt;",
    '<think>{{"facts": [], "facts": NaN}} {{{{{{ </think>',
    '{{"facts": [], "facts": []}} </think>',
)


@pytest.mark.parametrize("thoughts", THOUGHTS)
def test_an_object_among_the_thoughts_is_no_answer(thoughts: str) -> None:
    before = thoughts.format(draft=DRAFT)
    assert read_facts(before + facts_answer((0, "enlarged heart")), REPORT) == FACTS[:1]
    assert "no complete JSON object" in reason_of(f"{before} Sorry, I cannot help.")
    assert "no complete JSON object" in reason_of(f"{before} ")


@pytest.mark.parametrize(
    "answer",
    [
        "{} <think>now {{}}, no",
        "{} <think>{{}}</think>",
        "<think>a</think> {} <think>b {{}} </think>",
        "As a thinker I reason: {}",
    ],
)
def test_thoughts_after_the_answer_do_not_take_it_away(answer: str) -> None:
    given_ = facts_answer((0, "enlarged heart"))
    assert read_facts(answer.replace("{{}}", DRAFT).replace("{}", given_, 1), REPORT) == FACTS[:1]


def test_a_mark_within_a_fact_is_a_part_of_the_report() -> None:
    for mark in ("</think>", "<think>"):
        answer = facts_answer((0, f"enlarged {mark} heart"))
        assert len(read_facts(answer, f"The heart {mark} think is enlarged.")) == 1


@pytest.mark.parametrize(
    "piece", ["</think>", "<think>", "<", "[/", "<|end_", '{"a":', '</think>{"a":', "<think", "&lt;"]
)
def test_marks_without_an_end_take_no_time(piece: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidAnswer):
        read_facts(piece * (LONGEST_ANSWER // len(piece)), REPORT)
    assert time.process_time() - began < 2.0


def test_what_is_said_aloud() -> None:
    assert without_thoughts("No marks: p < 0.05 [see image].") == "No marks: p < 0.05 [see image]."
    assert without_thoughts("a <think>b</think> c </think> d <think> e") == " d "
    for thoughts in THOUGHTS:
        assert without_thoughts(thoughts.format(draft=DRAFT) + "Clear.").strip().endswith("Clear.")
        assert "facts" not in without_thoughts(thoughts.format(draft=DRAFT) + "Clear.")


def test_a_comma_before_a_closing_bracket_is_tolerated_and_strings_stay_as_they_are() -> None:
    report = 'The tube, ] is in place. "Quoted" heart.'
    answer = '{"facts": [{"sentence": 0, "text": "tube ,] in \\"place\\"",},\n],}'
    assert read_facts(answer, report) == (Fact('tube ,] in "place"', 0, 0, 23),)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "the answer is empty"),
        ("", "the answer is empty"),
        (" \n", "the answer is empty"),
        ("null", "it has no JSON"),
        ("[]", "it has no JSON"),
        ("I'm sorry, but I can't help with that.", "it has no JSON"),
        ('{"facts": [{"sentence": 0, "text": "enlarged heart"}, {"sente', "it may be cut off"),
        ('{"facts": [{"sentence": 0, "text": "enlarged heart"}]', "it may be cut off"),
        ('<think>{"facts": []} would be', "no complete JSON object with facts: it has no JSON"),
        ('{"answer": []}', "no complete JSON object with facts"),
        ('{"facts": []} or {"facts": []}', "holds 2 JSON objects with facts; give one"),
        ('{"facts": [], "facts": []}', "gives a key twice"),
        ('{"facts": [{"sentence": NaN, "text": "a"}]}', "NaN and Infinity aren't allowed"),
        ('{"facts": {}}', "facts: input should be a valid list"),
        ('{"facts": ["enlarged heart"]}', r"facts[0]: input should be"),
        ('{"facts": [], "note": ""}', "the object has a key that isn't asked for"),
        ('{"facts": [{"sentence": 0}]}', "facts[0].text is missing"),
        (
            '{"facts": [{"sentence": "0", "text": "enlarged heart"}]}',
            "facts[0].sentence: input should be a valid integer",
        ),
        ('{"facts": [{"sentence": true, "text": "enlarged heart"}]}', "facts[0].sentence: input should be"),
        ('{"facts": [{"sentence": 0, "text": null}]}', "facts[0].text: input should be a valid string"),
        ('{"facts": [{"sentence": 0, "text": "enlarged heart", "place": ""}]}', "facts[0] has a key that isn't"),
        (facts_answer((3, "enlarged heart")), "facts[0].sentence is 3; allowed: 0 to 2"),
        (facts_answer((-1, "enlarged heart")), "facts[0].sentence is -1; allowed: 0 to 2"),
        (facts_answer((10**300, "enlarged heart")), "facts[0].sentence is far out of range; allowed: 0 to 2"),
        (facts_answer((0, "  ")), "facts[0].text holds no statement"),
        (facts_answer((0, "12 / 3")), "facts[0].text holds no statement"),
        (facts_answer((0, "heart \u0007")), "facts[0].text holds no statement"),
        ('{"facts": [{"sentence": 0, "text": "heart \\ud800"}]}', "facts[0].text"),
        ("x" * (LONGEST_ANSWER + 1), f"more than {LONGEST_ANSWER} characters"),
        ("{" * 3_000, "more than 200 pieces of JSON"),
        ('{"facts": ' + "[" * 50_000, "it may be cut off"),
    ],
)
def test_what_is_not_an_answer_is_refused_with_its_reason(answer: str | None, reason: str) -> None:
    assert reason in reason_of(answer)


def test_reasons_are_few_and_counted() -> None:
    answer = json.dumps({"facts": [{"sentence": 0, "text": 1}] * 5})
    assert reason_of(answer).endswith("; and 2 more")
    assert reason_of(answer).count("valid string") == 3


def test_reasons_repeat_neither_report_nor_answer() -> None:
    secret = "zebrastripe"
    for answer in (
        json.dumps({"facts": [{"sentence": 0, "text": f"heart {secret}"}]}),
        json.dumps({"facts": [{"sentence": 0, "text": "heart", secret: 1}]}),
        json.dumps({"facts": [], secret: 1}),
        json.dumps({"facts": secret}),
        json.dumps({"facts": [{"sentence": secret, "text": "heart"}]}),
        f"{secret} {{",
    ):
        assert secret not in reason_of(answer)
        assert "enlarged" not in reason_of(answer)
    for answer in (verdicts_answer(**{secret: ("entailed", [0])}), verdicts_answer(edema=(secret, []))):
        assert secret not in verdict_reason(answer)


@pytest.mark.parametrize("piece", ['"\\', "<think>", "{", ",]", '{"a":', '"', ", ", "{ ", "}"])
def test_garbage_of_any_length_is_refused_at_once(piece: str) -> None:
    start = time.process_time()
    reason_of((piece * LONGEST_ANSWER)[:LONGEST_ANSWER])
    reason_of(('{"a":' * 190 + "[" + piece * LONGEST_ANSWER)[:LONGEST_ANSWER])
    assert time.process_time() - start < 5.0


# ------------------------------------------------------------------------------------------------ facts and their words
@pytest.mark.parametrize(
    ("report", "sentence", "fact"),
    [
        ("The heart is enlarged.", 0, "enlargement of the heart"),
        ("Patchy opacities at both lung bases.", 0, "patchy opacity at the left base"),
        ("Bibasilar atelectasis.", 0, "atelectasis at the right base"),
        ("Bibasilar atelectasis.", 0, "atelectasis at both lung bases".replace("lung ", "")),
        ("There are bilateral pleural effusions.", 0, "right pleural effusion"),
        ("Small effusion.", 0, "a small pleural effusion is present"),
        ("Atelectatic change on the left side.", 0, "left-sided atelectasis"),
        ("No evidence of pneumothorax or fracture.", 0, "no fracture"),
        ("Neither effusion nor edema.", 0, "absence of edema"),
        ("Pneumonia cannot be excluded.", 0, "possible pneumonia"),
        ("Heart size is within normal limits.", 0, "normal heart size"),
        ("Worsening consolidation.", 0, "worse consolidation"),
        ("Calcified hilar nodes.", 0, "calcification of nodes at the hilum"),
        ("A 3.5 cm mass.", 0, "mass of 3.5 cm"),
        ("PICC line ends in the SVC.", 0, "PICC line in SVC"),
        ("Small effusion on the left. A larger one is on the right.", 1, "larger effusion on the right"),
        ("Mild post-surgical change.", 0, "mild post surgical changes"),
    ],
)
def test_a_fact_may_inflect_reorder_and_refer_back(report: str, sentence: int, fact: str) -> None:
    (found,) = read_facts(facts_answer((sentence, fact)), report)
    assert (found.text, found.sentence_index) == (fact, sentence)
    assert report[found.start : found.end] == report.removesuffix(".").split(". ")[sentence]


@pytest.mark.parametrize(
    ("report", "sentence", "fact", "word"),
    [
        ("The heart is enlarged.", 0, "cardiomegaly", 1),
        ("There is a pleural effusion.", 0, "large pleural effusion", 1),
        ("There is a pleural effusion.", 0, "left pleural effusion", 1),
        ("A 3 cm mass.", 0, "mass of 5 cm", 3),
        ("There is pneumonia.", 0, "pneumothorax", 1),
        ("There is hyperinflation.", 0, "hypoinflation", 1),
        ("The lungs are clear.", 0, "no opacity in the lungs", 2),
        ("Small effusion on the left. The heart is normal.", 1, "small effusion", 1),
        ("The heart is normal. Small effusion on the left.", 0, "small effusion", 1),
        ("The heart is enlarged. Small effusion on the left.", 0, "enlarged heart on the left", 5),
        ("A nodule of 10025 units.", 0, "nodule of 10026 units", 3),
        ("There is an effusion.", 0, "it is present", 1),
    ],
)
def test_a_word_that_the_report_lacks_is_refused(report: str, sentence: int, fact: str, word: int) -> None:
    assert f"facts[0].text: its word {word} isn't stated in sentence {sentence}" in reason_of(
        facts_answer((sentence, fact)), report
    )


# ------------------------------------------------------------------------------------------------ verdicts
def test_verdicts_come_in_the_order_of_the_observations_with_their_facts() -> None:
    answer = verdicts_answer(
        cardiomegaly=("entailed", [0]), pleural_effusion=("entailed", [1, 1]), pneumothorax=("contradicted", [2])
    )
    verdicts = read_verdicts(answer, FACTS)
    assert tuple(verdict.observation for verdict in verdicts) == OBSERVATIONS
    told = {v.observation: (v.judgement, v.supporting_facts) for v in verdicts if v.supporting_facts}
    assert told == {
        Observation.CARDIOMEGALY: (Judgement.ENTAILED, FACTS[:1]),
        Observation.PLEURAL_EFFUSION: (Judgement.ENTAILED, FACTS[1:2]),
        Observation.PNEUMOTHORAX: (Judgement.CONTRADICTED, FACTS[2:]),
    }
    assert sum(verdict.judgement is Judgement.NOT_MENTIONED for verdict in verdicts) == 11


def test_no_finding_may_rest_on_several_facts_and_stand_beside_devices() -> None:
    facts = (Fact("no effusion", 0, 0, 11), Fact("tube in place", 1, 13, 26), Fact("normal heart", 2, 28, 40))
    answer = verdicts_answer(
        no_finding=("entailed", [0, 2]), support_devices=("entailed", [1]), cardiomegaly=("contradicted", [2])
    )
    assert read_verdicts(answer, facts)[0].supporting_facts == (facts[0], facts[2])


def test_observations_may_be_spelled_as_columns_in_any_order() -> None:
    columns = {observation.value: {"verdict": "not mentioned", "supported_by": []} for observation in OBSERVATIONS}
    answer = json.dumps({"verdicts": dict(reversed(columns.items()))})
    assert read_verdicts(answer, FACTS) == nothing_mentioned()


def test_without_facts_nothing_is_mentioned() -> None:
    assert read_verdicts(verdicts_answer(), ()) == nothing_mentioned()
    reason = verdict_reason(verdicts_answer(edema=("entailed", [0])), ())
    assert reason == "verdicts.edema.supported_by names fact 0; allowed: none, there are no facts"


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ({"edema": ("entailed", [])}, "verdicts.edema is entailed but supported_by is empty"),
        ({"edema": ("contradicted", [])}, "verdicts.edema is contradicted but supported_by is empty"),
        ({"edema": ("not mentioned", [0])}, "verdicts.edema is not mentioned but supported_by names facts"),
        ({"edema": ("entailed", [3])}, "verdicts.edema.supported_by names fact 3; allowed: 0 to 2"),
        ({"edema": ("entailed", [-1])}, "verdicts.edema.supported_by names fact -1; allowed: 0 to 2"),
        ({"edema": ("entailed", ["0"])}, "verdicts.edema.supported_by[0]: input should be a valid integer"),
        ({"edema": ("positive", [0])}, "verdicts.edema.verdict: input should be 'entailed', 'contradicted' or"),
        ({"no_finding": ("contradicted", [0])}, "verdicts.no_finding.verdict: input should be 'entailed' or"),
        ({"no_finding": ("entailed", [2]), "edema": ("entailed", [0])}, "no_finding is entailed beside edema"),
        ({"asthma": ("entailed", [0])}, "verdicts has a key that isn't asked for"),
        ({"Edema": ("entailed", [0])}, "verdicts gives an observation twice"),
    ],
)
def test_a_verdict_that_cannot_be_is_refused(given_: dict[str, tuple[Any, list[Any]]], reason: str) -> None:
    assert reason in verdict_reason(verdicts_answer(**given_))


def test_every_observation_is_needed_once() -> None:
    for observation in OBSERVATIONS:
        incomplete = table()
        del incomplete[key_of(observation)]
        reason = verdict_reason(json.dumps({"verdicts": incomplete}))
        assert reason == f"verdicts.{key_of(observation)} is missing"
    twice = verdicts_answer().replace('"edema"', '"edema": {"verdict": "not mentioned", "supported_by": []}, "edema"')
    assert "gives a key twice" in verdict_reason(twice)
    assert "verdicts: input should be" in verdict_reason('{"verdicts": []}')


# ------------------------------------------------------------------------------------------------ combined
def test_combined_reads_facts_and_verdicts_on_them() -> None:
    answer = json.dumps(
        {**json.loads(facts_answer((0, "enlarged heart"))), "verdicts": table(cardiomegaly=("entailed", [0]))}
    )
    facts, verdicts = read_combined(answer, REPORT)
    assert facts == FACTS[:1]
    assert [verdict.supporting_facts for verdict in verdicts if verdict.supporting_facts] == [FACTS[:1]]


@pytest.mark.parametrize(
    "answer",
    [
        facts_answer((0, "enlarged heart")),
        verdicts_answer(),
        json.dumps({"facts": [], "verdicts": table(cardiomegaly=("entailed", [0]))}),
        json.dumps({"facts": [{"sentence": 0, "text": "large mass"}], "verdicts": table()}),
    ],
)
def test_combined_needs_both_parts_and_checks_both(answer: str) -> None:
    with pytest.raises(InvalidAnswer):
        read_combined(answer, REPORT)


# ------------------------------------------------------------------------------------------------ anything at all
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["entailed", "heart"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["facts", "verdicts", "sentence", "text", "edema", "a"]), inner, max_size=4)
    ),
    max_leaves=20,
)
ANSWERS = (
    st.text()
    | JSON_VALUES.map(json.dumps)
    | st.fixed_dictionaries({"facts": JSON_VALUES, "verdicts": JSON_VALUES}).map(json.dumps)
)


@settings(max_examples=300)
@given(ANSWERS, st.text(max_size=60) | st.just(REPORT))
@pytest.mark.slow
def test_arbitrary_text_is_read_or_refused_and_nothing_else(answer: str, report: str) -> None:
    for read, about in ((read_facts, report), (read_verdicts, FACTS), (read_combined, report)):
        with contextlib.suppress(InvalidAnswer):
            read(answer, about)  # type: ignore[operator]


@settings(max_examples=150)
@given(st.data())
def test_a_cut_answer_is_never_taken_for_a_whole_one(data: st.DataObject) -> None:
    whole = facts_answer((0, "enlarged heart"), (1, "no pneumothorax"))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    reason_of(cut)
