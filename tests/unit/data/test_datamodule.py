import csv
import logging

import pytest
from PIL import Image

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.data.balanced_subset import BalancedSubset
from orapo.data.datamodule import BatchSettings, ReportDataModule
from orapo.data.left_out import write_left_out
from orapo.data.source import LeftOut, ListedStudy, StudySource
from orapo.errors import DataError
from orapo.records import Split, Study


class LazySource:
    """Lists 12 studies per split; every third turns out to have no findings section once it is read."""

    name = "lazy"

    def __init__(self):
        self.num_read = 0
        self.num_images = 0

    def entries(self, split):
        labels = {o: LabelState.POSITIVE if o is OBSERVATIONS[0] else LabelState.UNMENTIONED for o in OBSERVATIONS}
        return [ListedStudy(f"{split}-{index}", f"patient-{split}-{index}", labels) for index in range(12)]

    def left_out(self, split):
        return [LeftOut(f"{split}-lateral", "no frontal image")]

    def read(self, study_id):
        self.num_read += 1
        split, number = study_id.split("-")
        if int(number) % 3 == 0:
            return LeftOut(study_id, "no findings section")
        labels = self.entries(split)[0].labels
        return Study(study_id, f"patient-{study_id}", Split(split), ("a.png",), ("PA",), "Text.", labels)

    def load_images(self, study):
        self.num_images += 1
        return (Image.new("RGB", (8, 8)),)

    def digest(self):
        return "0" * 64


def batches(**changes):
    settings = {
        "batch_size": 2,
        "num_steps": 3,
        "num_passes": None,
        "eval_batch_size": 2,
        "max_validate_studies": 3,
        "max_test_studies": None,
        "num_workers": 0,
        "seed": 0,
    }
    return BatchSettings(**(settings | changes))


def test_only_studies_that_are_needed_are_read_and_no_image_is_opened():
    source = LazySource()
    assert isinstance(source, StudySource)
    data = ReportDataModule(source, BalancedSubset(num_studies=4, seed=0), batches())
    assert len(data.train_studies) == 4
    assert [study.study_id for study in data.validate_studies] == ["validate-1", "validate-2", "validate-4"]
    assert [study.study_id for study in data.test_studies] == [f"test-{n}" for n in (1, 2, 4, 5, 7, 8, 10, 11)]
    assert source.num_read == (4 + data.manifest.num_unusable) + 5 + 12
    assert source.num_images == 0
    reasons = [left_out.reason for left_out in data.left_out]
    assert reasons.count("no frontal image") == 3
    assert reasons.count("no findings section") == data.manifest.num_unusable + 2 + 4


def test_the_manifest_of_another_run_gives_its_studies_in_its_order():
    subset = BalancedSubset(num_studies=4, seed=0)
    first = ReportDataModule(LazySource(), subset, batches())
    again = ReportDataModule(LazySource(), BalancedSubset(num_studies=2, seed=9), batches(), first.manifest)
    assert again.train_studies == first.train_studies
    assert again.manifest == first.manifest


def test_a_manifest_with_a_study_that_lost_its_section_is_refused():
    class Changed(LazySource):
        def read(self, study_id):
            is_lost = study_id.startswith("train")
            return LeftOut(study_id, "no impression section") if is_lost else super().read(study_id)

    manifest = ReportDataModule(LazySource(), BalancedSubset(num_studies=4, seed=0), batches()).manifest
    with pytest.raises(DataError, match=r"study train-\d+ of the subset can't be used: no impression section"):
        ReportDataModule(Changed(), BalancedSubset(num_studies=4, seed=0), batches(), manifest)


def test_a_split_without_a_usable_study_is_refused():
    class Empty(LazySource):
        def read(self, study_id):
            return LeftOut(study_id, "no report") if study_id.startswith("validate") else super().read(study_id)

    with pytest.raises(DataError, match="lazy: no validate study is left after filtering"):
        ReportDataModule(Empty(), BalancedSubset(num_studies=4, seed=0), batches())


def test_studies_left_out_are_listed_and_counted(tmp_path, caplog):
    left_out = [LeftOut("a", "no labels"), LeftOut("b,c", "no frontal image"), LeftOut("d", "no frontal image")]
    with caplog.at_level(logging.INFO):
        write_left_out(left_out, tmp_path / "left_out.csv")
    with open(tmp_path / "left_out.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["study_id", "reason"], *([study.study_id, study.reason] for study in left_out)]
    assert "3 studies left out (no frontal image: 2, no labels: 1), listed in" in caplog.text
