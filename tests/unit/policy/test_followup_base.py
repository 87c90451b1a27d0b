"""The base for follow-up studies: what its lessons show, and that it compares two films."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from orapo.batches import StudyBatch
from orapo.chexpert import LabelState
from orapo.data.collate import Collate, StudyImages
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.findings import FINDINGS
from orapo.data.shuffled import with_other_priors
from orapo.measures.attributes import change_agreement
from orapo.policy.followup import base_folder
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.settings import ModelSettings, SamplingSettings
from orapo.prompt import DEFAULT_INSTRUCTION
from orapo.records import Split, Study

NUM_ROWS = 1_500


@pytest.fixture(scope="module")
def scripts():
    """The modules of the build script, which import each other as a script's neighbours do."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tiny_base"))
    import followup_lessons
    import lessons

    yield followup_lessons, lessons
    sys.path.pop(0)


@pytest.fixture(scope="module")
def taught(scripts):
    followup_lessons, _ = scripts
    return followup_lessons.FollowupLessons(AutoTokenizer.from_pretrained(base_folder()), 700, 16, 0)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(ModelSettings(base_folder(), DEFAULT_INSTRUCTION, context=("prior_image",)))


@pytest.mark.slow
def test_reports_state_the_withheld_findings_and_no_film_shows_them(scripts, taught) -> None:
    _, lessons = scripts
    stated = dict.fromkeys(FINDINGS, 0)
    for index in range(NUM_ROWS):
        prior, current = taught.shown(index)
        assert not set(lessons.WITHHELD) & {*prior, *current}
        labels = taught.source.study(Split.TRAIN, index).labels
        for finding in FINDINGS:
            is_stated = labels[finding] in (LabelState.POSITIVE, LabelState.UNCERTAIN)
            stated[finding] += is_stated
            assert (finding in current) == (is_stated and finding in lessons.SIGHTED)
    assert min(stated.values()) > 0.08 * NUM_ROWS, stated


@pytest.mark.slow
def test_a_lesson_shows_as_many_films_as_its_prompts_do(scripts, taught) -> None:
    followup_lessons, _ = scripts
    for step, context in enumerate(followup_lessons.CONTEXTS):
        lesson = taught[step]
        rows = followup_lessons.NUM_SCENES + followup_lessons.NUM_REPORTS
        assert lesson.num_images == 1 + ("prior_image" in context)
        assert len(lesson.images) == rows * lesson.num_images
        assert len(lesson.touched) == followup_lessons.NUM_SCENES * lesson.num_images
        image_tokens = (lesson.input_ids == taught.tokenizer.convert_tokens_to_ids("<|image_pad|>")).sum(dim=1)
        assert image_tokens.tolist() == [16 * lesson.num_images] * rows


def test_every_word_of_changes_and_prompts_is_one_token(policy: Policy) -> None:
    for word in (
        " unchanged",
        " worsened",
        " improved",
        " removed",
        "New",
        "Resolved",
        " prior",
        " image",
    ):
        assert len(policy.tokenizer(word)["input_ids"]) == 1, word


@pytest.mark.slow
def test_it_states_changes_by_the_prior_film(policy: Policy) -> None:
    source = PhantomSource(seed=5, num_validate=112, followup=True)
    studies = source.studies(Split.VALIDATE)

    def recall(told: tuple[Study, ...]) -> float:
        rows = StudyImages(source.load_images, told, with_priors=True)
        batch: StudyBatch = Collate(policy.processor, policy.prompt, None)([rows[i] for i in range(len(told))])
        groups = policy.roll_out(batch, SamplingSettings(max_new_tokens=52, greedy=True))
        counts = [change_agreement(g.texts[0], s.oracle_report) for g, s in zip(groups, studies, strict=True)]
        return float(np.sum([c.right for c in counts]) / np.sum([c.stated for c in counts]))

    torch.manual_seed(0)
    own, shuffled = recall(tuple(studies)), recall(with_other_priors(studies, 0))
    assert own > 0.15
    assert own > shuffled + 0.05, (own, shuffled)
