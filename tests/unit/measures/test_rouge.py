"""ROUGE equals torchmetrics', and a report of 20,000 characters takes no time."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from orapo.evaluation.text_measures import overlap_measures
from orapo.measures.rouge import longest_common_subsequence, rouge_scores

WORDS = st.lists(st.sampled_from(["no", "edema", "left", "clear", "ödem"]), max_size=40)


@settings(max_examples=300)
@given(WORDS, WORDS)
def test_every_value_is_that_of_torchmetrics_to_the_last_bit(ours: list[str], theirs: list[str]) -> None:
    from torchmetrics.functional.text.rouge import rouge_score

    keys = ("rouge1", "rouge2", "rougeL")
    scores = rouge_score(" ".join(ours), " ".join(theirs), rouge_keys=keys, normalizer=str, tokenizer=str.split)
    assert rouge_scores([ours], [theirs]) == [[float(scores[f"{key}_fmeasure"]) for key in keys]]


def test_the_longest_common_subsequence_by_hand() -> None:
    assert longest_common_subsequence("abcbdab", "bdcaba") == 4
    assert longest_common_subsequence("", "a") == longest_common_subsequence("a", "") == 0
    assert longest_common_subsequence("a" * 70, "a" * 65) == 65


def test_overlap_of_long_reports_take_no_time() -> None:
    overlap_measures(["a"], ["a"])  # imports torchmetrics
    repeated, different = "no " * 6_667, " ".join(f"w{number}" for number in range(4_000))
    for report in (repeated, different, "a" * 20_000, "a b" * 6_667):
        began = time.process_time()
        assert overlap_measures([report], [report]).values()["rouge_l"] == 1
        assert time.process_time() - began < 2.0
