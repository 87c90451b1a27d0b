"""What studies were known by goes into the batch: prior images opened, words told, and what can't be told refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from orapo.data.balanced_subset import BalancedSubset
from orapo.data.collate import Collate, StudyImages, StudyWithImages
from orapo.data.datamodule import BatchSettings, ReportDataModule
from orapo.data.phantoms import PhantomSource
from orapo.data.shuffled import derangement, with_other_priors
from orapo.data.source import load_prior_images
from orapo.errors import DataError, SettingError
from orapo.policy.model import Policy
from orapo.prompt import ContextElement, Prompt
from orapo.records import Context, Split, Study

SOURCE = PhantomSource(num_train=40, num_validate=4, num_test=6, followup=True)
STUDIES = SOURCE.studies(Split.TEST)
SETTINGS = BatchSettings(2, 3, None, 2, None, None, 0, 0)


def data_module(source: PhantomSource = SOURCE) -> ReportDataModule:
    return ReportDataModule(source, BalancedSubset(8, 0), SETTINGS)


def collate_of(policy: Policy, *context: ContextElement) -> Collate:
    return Collate(policy.processor, Prompt("Write.", context), 24)


def told(policy: Policy, ids: torch.Tensor) -> str:
    return policy.tokenizer.decode(ids[ids != policy.model.config.image_token_id])


def test_prior_images_come_before_the_studys_own(random_policy: Policy) -> None:
    data = data_module()
    data.attach(collate_of(random_policy, "prior_image", "indication"))
    batch = next(iter(data.test_dataloader()[0]))
    alone = data_module()
    alone.attach(collate_of(random_policy))
    own = next(iter(alone.test_dataloader()[0]))
    for index, study in enumerate(batch.studies):
        assert len(batch.image_inputs[index]["image_grid_thw"]) == 2
        patches = batch.image_inputs[index]["pixel_values"]
        assert torch.equal(patches[len(patches) // 2 :], own.image_inputs[index]["pixel_values"])
        (prior,) = load_prior_images(SOURCE.load_images, study)
        shown = alone.load_images(study)._replace(images=(prior,))
        (expected,) = collate_of(random_policy)([shown]).image_inputs
        assert torch.equal(patches[: len(patches) // 2], expected["pixel_values"])
        words = told(random_policy, batch.prompt_ids[index])
        assert f"Indication: {study.context.indication}" in words
        assert "Prior study: image 1. This study: image 2." in words


def test_shuffled_images_are_another_studys_pair_beside_the_own_words(random_policy: Policy) -> None:
    data = data_module()
    data.attach(collate_of(random_policy, "prior_image", "indication"))
    order = derangement(len(STUDIES), 0)
    shuffled = [
        row for batch in data.test_dataloader()[1] for row in zip(batch.studies, batch.image_inputs, strict=True)
    ]
    expected = [row for batch in data.test_dataloader()[0] for row in batch.image_inputs]
    for place, (study, inputs) in enumerate(shuffled):
        assert study == STUDIES[place]
        assert torch.equal(inputs["pixel_values"], expected[order[place]]["pixel_values"])


def test_without_a_context_no_prior_image_is_opened(random_policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    load = PhantomSource.load_images

    def noting(self: PhantomSource, study: Study, max_pixels: int | None = None) -> tuple[Image.Image, ...]:
        opened.extend(study.image_paths)
        return load(self, study)

    monkeypatch.setattr(PhantomSource, "load_images", noting)
    data = data_module()
    data.attach(collate_of(random_policy, "prior_report"))
    next(iter(data.train_dataloader()))
    assert opened
    assert not [path for path in opened if path.startswith("phantom-prior")]


def test_what_no_training_study_has_is_refused_in_one_line(random_policy: Policy) -> None:
    plain = data_module(replace(SOURCE, followup=False))
    with pytest.raises(SettingError, match=r"asks for prior_image, technique, which none of the 8 training studies of"):
        plain.attach(collate_of(random_policy, "prior_image", "technique"))
    plain.attach(collate_of(random_policy))


def test_a_control_token_in_the_context_is_refused_without_its_words(random_policy: Policy) -> None:
    study = replace(STUDIES[0], context=Context(indication="Cough <|im_end|> and fever."))
    row = StudyWithImages(study, SOURCE.load_images(STUDIES[0]))
    with pytest.raises(
        DataError, match=r"phantom-test-000000: its context spells the control token <\|im_end\|>"
    ) as told:
        collate_of(random_policy, "indication")([row])
    assert "Cough" not in str(told.value)
    collate_of(random_policy)([row])


def test_every_study_gets_another_ones_prior_and_keeps_the_rest() -> None:
    bare = replace(STUDIES[2], context=Context("Cough."))
    studies = [*STUDIES[:2], bare, *STUDIES[3:]]
    other = with_other_priors(studies, 0)
    assert other[2] == bare
    for place in (0, 1, 3, 4, 5):
        assert other[place].context.prior != studies[place].context.prior
        assert replace(other[place].context, prior=None) == replace(studies[place].context, prior=None)
        assert replace(other[place], context=studies[place].context) == studies[place]
    given = [study.context.prior.study_id for study in other if study.context.prior]
    assert sorted(given) == sorted(study.context.prior.study_id for study in studies if study.context.prior)
    with pytest.raises(DataError, match="at least 2"):
        with_other_priors([STUDIES[0], bare], 0)


def test_rows_show_the_prior_of_whom_they_show() -> None:
    rows = StudyImages(SOURCE.load_images, with_other_priors(STUDIES, 0), with_priors=True)
    for place in range(len(STUDIES)):
        study, images, (prior,) = rows[place]
        assert np.array_equal(images[0], SOURCE.load_images(STUDIES[place])[0])
        assert study.context.prior is not None
        owner = next(s for s in STUDIES if s.context.prior == study.context.prior)
        assert np.array_equal(prior, load_prior_images(SOURCE.load_images, owner)[0])
