"""Studies for evaluating alone: with and without oracle reports, counted and never dropped in silence."""

import pytest
import torch
from tests.conftest import make_study, noise_image

from orapo.data.balanced_subset import BalancedSubset
from orapo.data.collate import Collate
from orapo.data.datamodule import BatchSettings, ReportDataModule
from orapo.data.evaluation_studies import EvaluationStudies, read_training_studies
from orapo.data.phantoms.source import PhantomSource
from orapo.data.source import LeftOut
from orapo.data.subset_manifest import SubsetManifest
from orapo.errors import DataError
from orapo.records import Split

SUBSET = BalancedSubset(num_studies=10, seed=3, uncertain_is_positive=False, allow_fewer=True)


class Bare:
    """Three test studies, none with a report; the second can't be used."""

    name = "bare"

    def entries(self, split):
        return [make_study(i, "") for i in "abc"] if split is Split.TEST else []

    def left_out(self, split):
        return [LeftOut("z", "no frontal image")] if split is Split.TEST else []

    def read(self, study_id):
        return LeftOut("b", "no frontal image") if study_id == "b" else make_study(study_id, "")

    def load_images(self, study, max_pixels=None):
        return (noise_image(ord(study.study_id), (56, 56)),)

    def digest(self):
        return "0" * 64


def test_studies_without_reports_are_served_for_generating(random_policy, collate):
    studies = EvaluationStudies.read(Bare(), None)
    assert [study.study_id for study in studies.studies] == ["a", "c"]
    assert [left_out.study_id for left_out in studies.left_out] == ["z", "b"]
    bare = Collate(collate.processor, collate.prompt, max_report_tokens=None)
    (batch,) = studies.loader(bare, batch_size=2, num_workers=0, images_of=None)
    assert [ids.tolist() for ids in batch.oracle_ids] == [[], []]
    (swapped,) = studies.loader(bare, batch_size=2, num_workers=0, images_of=[1, 0])
    assert swapped.studies == batch.studies
    first, second = batch.joined("pixel_values").chunk(2)
    assert torch.equal(swapped.joined("pixel_values"), torch.cat([second, first]))
    # For training, an empty report stays an error.
    with pytest.raises(DataError, match="study a: the report is empty"):
        collate([(make_study("a", ""), (noise_image(0, (56, 56)),))])


def test_a_cut_report_has_no_end(collate):
    tokenizer = collate.processor.tokenizer
    study = make_study("a", "The lungs are clear and the heart is small.")
    ids = tokenizer(study.oracle_report, add_special_tokens=False)["input_ids"]
    cut = Collate(collate.processor, collate.prompt, max_report_tokens=len(ids))
    whole = Collate(collate.processor, collate.prompt, max_report_tokens=len(ids) + 1)
    row = (study, (noise_image(0, (56, 56)),))
    assert cut([row]).oracle_ids[0].tolist() == ids
    assert whole([row]).oracle_ids[0].tolist() == [*ids, tokenizer.eos_token_id]
    assert (cut.is_cut(study), whole.is_cut(study)) == (True, False)


def test_limits_and_empty_splits():
    assert len(EvaluationStudies.read(Bare(), 1).studies) == 1
    with pytest.raises(DataError, match="bare has no training studies"):
        read_training_studies(Bare(), SUBSET, None)


def test_training_studies_are_those_of_a_run(tmp_path):
    source = PhantomSource(num_train=40, num_validate=2, num_test=3)
    settings = BatchSettings(2, 1, None, 2, None, None, 0, 0)
    data = ReportDataModule(source, SUBSET, settings)
    assert read_training_studies(source, SUBSET, None) == data.train_studies
    data.manifest.write(tmp_path / "subset.json")
    other = BalancedSubset(num_studies=4, seed=8, uncertain_is_positive=False, allow_fewer=True)
    manifest = SubsetManifest.read(tmp_path / "subset.json")
    assert read_training_studies(source, other, manifest) == data.train_studies
    assert EvaluationStudies.read(source, None).studies == data.test_studies
