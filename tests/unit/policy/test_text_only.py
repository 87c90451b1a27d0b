"""Prompts without images, alone and beside others: the same values by both ways to score, and by sampling."""

from dataclasses import replace

import pytest
import torch
from tests.conftest import make_study, noise_image
from tests.unit.policy.conftest import flat
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.data.collate import Collate, StudyWithImages
from orapo.errors import DataError
from orapo.policy.decoding import CachedDecoder
from orapo.policy.model import Policy
from orapo.policy.rollouts import sample_completions
from orapo.policy.scoring import score_repeated, score_shared
from orapo.policy.settings import SamplingSettings
from orapo.policy.vllm.images import study_pictures
from orapo.records import Question, Study

GREEDY = SamplingSettings(max_new_tokens=6, min_new_tokens=6, greedy=True)


def asked(study_id: str, text: str) -> Study:
    study = make_study(study_id, "2+3=5", views=0)
    return replace(study, labels={}, question=Question(text, "5", "sums", "numeric"))


@pytest.fixture
def mixed(collate: Collate) -> StudyBatch:
    """A question, a study with two images, and another question."""
    shown = make_study("b", "No pneumothorax.", views=2)
    rows = [
        StudyWithImages(asked("a", "2+3=?"), ()),
        StudyWithImages(shown, (noise_image(1, (56, 56)), noise_image(2, (84, 112)))),
        StudyWithImages(asked("c", "1+1+3=?"), ()),
    ]
    return collate(rows)


def completions_of(batch: StudyBatch) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    drawn = [[torch.randint(8, 300, (n,), generator=generator) for n in (4, 1)] for _ in range(len(batch))]
    return [[*study, oracle] for study, oracle in zip(drawn, batch.oracle_ids, strict=True)]


@pytest.mark.parametrize("places", [[0, 1, 2], [0, 2], [2]])
def test_both_ways_to_score_agree(random_policy: Policy, mixed: StudyBatch, places: list[int]) -> None:
    batch = mixed.select(places)
    completions = completions_of(batch)
    shared = flat(score_shared(random_policy.model, batch, completions, 0.7))
    repeated = flat(score_repeated(random_policy.model, batch, completions, 0.7))
    torch.testing.assert_close(shared, repeated, atol=1e-5, rtol=0)
    assert shared.std() > 0.5, "the policy is so flat that any two ways would agree"


def test_a_question_scores_the_same_beside_images(random_policy: Policy, mixed: StudyBatch) -> None:
    completions = completions_of(mixed)
    beside = score_shared(random_policy.model, mixed, completions, 1.0)[2]
    alone = score_shared(random_policy.model, mixed.select([2]), completions[2:], 1.0)[0]
    torch.testing.assert_close(flat((beside,)), flat((alone,)), atol=1e-5, rtol=0)


def test_both_ways_to_sample_agree(random_policy: Policy, mixed: StudyBatch) -> None:
    shared = random_policy.roll_out(mixed, GREEDY)
    model, rules = random_policy.model.eval(), random_policy.stop_rules
    for batch in (mixed, mixed.select([0, 2]), mixed.select([1])):  # positions of one batch stay out of the next
        cached = sample_completions(CachedDecoder, model, batch, GREEDY, rules)
        ours = {study.study_id: group for study, group in zip(mixed.studies, shared, strict=True)}
        for study, (ids, logps, _) in zip(batch.studies, cached, strict=True):
            assert ids.tolist() == ours[study.study_id].token_ids[0].tolist()
            torch.testing.assert_close(logps, ours[study.study_id].old_logps[0], atol=1e-5, rtol=0)


def test_images_encoded_ahead_change_nothing(random_policy: Policy, mixed: StudyBatch) -> None:
    completions = completions_of(mixed)
    ahead = random_policy.with_images_encoded(mixed, keeps_graph=True)
    assert ahead.image_features is not None
    assert [bool(one) for one in ahead.image_features] == [False, True, False]
    for score in (score_shared, score_repeated):
        plain = flat(score(random_policy.model, mixed, completions, 1.0))
        torch.testing.assert_close(flat(score(random_policy.model, ahead, completions, 1.0)), plain)


def test_gradients_reach_the_language_model(random_policy: Policy, mixed: StudyBatch) -> None:
    batch = mixed.select([0, 2])
    flat(score_shared(random_policy.model, batch, completions_of(batch), 1.0)).sum().backward()
    weight = random_policy.model.get_input_embeddings().weight
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


def test_the_server_gets_no_picture(random_policy: Policy, mixed: StudyBatch) -> None:
    assert [len(each) for each in study_pictures(mixed, random_policy.image_processor)] == [0, 2, 0]


def test_the_question_stands_in_the_place_of_the_instruction(random_policy: Policy, mixed: StudyBatch) -> None:
    prompts = [random_policy.tokenizer.decode(ids) for ids in mixed.prompt_ids]
    instruction = random_policy.prompt.instruction
    assert [instruction in prompt for prompt in prompts] == [False, True, False]
    assert "1+1+3=?" in prompts[2]


def test_a_question_that_spells_a_control_token_is_refused(collate: Collate) -> None:
    with pytest.raises(DataError, match=r"study a: its question spells the control token <\|image_pad\|>"):
        collate([StudyWithImages(asked("a", "what is <|image_pad|>?"), ())])
