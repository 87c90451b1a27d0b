"""What the server sees is, pixel for pixel, what the policy sees."""

import base64
import io

import pytest
import torch
from PIL import Image
from tests.conftest import make_study

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.errors import SettingError
from orapo.policy.model import Policy
from orapo.policy.vllm.images import data_url, study_pictures


def test_patches_become_pictures_whose_patches_are_the_same(policy: Policy, batch: StudyBatch) -> None:
    pictures = study_pictures(batch, policy.image_processor)
    assert [len(study) for study in pictures] == [1, 2, 1]
    sides = policy.image_processor.patch_size * policy.image_processor.merge_size
    assert all(side % sides == 0 for study in pictures for picture in study for side in picture.size)
    collate = Collate(policy.processor, policy.prompt, 24)
    again = collate([(make_study(f"s{i}", "Normal.", len(p)), p) for i, p in enumerate(pictures)])
    assert torch.equal(again.joined("image_grid_thw"), batch.joined("image_grid_thw"))
    assert torch.equal(again.joined("pixel_values"), batch.joined("pixel_values"))
    assert all(torch.equal(one, other) for one, other in zip(again.prompt_ids, batch.prompt_ids, strict=True))


def test_a_data_url_holds_the_picture_without_loss(policy: Policy, batch: StudyBatch) -> None:
    (picture,) = study_pictures(batch, policy.image_processor)[0]
    head, data = data_url(picture).split(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == picture.tobytes()


def test_pixels_that_are_no_grey_levels_are_refused(policy: Policy, batch: StudyBatch) -> None:
    policy.image_processor.image_mean = [0.3, 0.3, 0.3]
    with pytest.raises(SettingError, match=r"preprocessor_config.json does more than resize"):
        study_pictures(batch, policy.image_processor)
