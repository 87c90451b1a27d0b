import csv
import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.data.balanced_subset import BalancedSubset
from orapo.data.collate import Collate
from orapo.data.datamodule import BatchSettings, ReportDataModule
from orapo.data.evaluation_studies import EvaluationStudies
from orapo.data.source import LeftOut, StudySource, write_left_out
from orapo.data.tabulated import StudyRow
from orapo.errors import DataError
from orapo.prompt import Prompt
from orapo.records import Split, Study


class LazySource:
    """Lists 12 studies per split; every third turns out to have no findings section once it is read."""

    name = "lazy"

    def __init__(self):
        self.num_read = 0
        self.num_images = 0

    def entries(self, split):
        labels = {o: LabelState.POSITIVE if o is OBSERVATIONS[0] else LabelState.UNMENTIONED for o in OBSERVATIONS}
        names = [(f"{split}-{index}", f"patient-{split}-{index}") for index in range(12)]
        return [StudyRow(*name, Split(split), (), (), labels=labels) for name in names]

    def left_out(self, split):
        return [LeftOut(f"{split}-lateral", "no frontal image")]

    def read(self, study_id):
        self.num_read += 1
        split, number = study_id.split("-")
        if int(number) % 3 == 0:
            return LeftOut(study_id, "no findings section")
        labels = self.entries(split)[0].labels
        return Study(study_id, f"patient-{study_id}", Split(split), (f"lazy:{study_id}",), ("PA",), "Text.", labels)

    def load_images(self, study, max_pixels=None):
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


class FilesSource(LazySource):
    """Its images are files; those named in ``cut`` end too soon."""

    def __init__(self, folder, cut):
        super().__init__()
        self._folder = folder
        image = Image.effect_noise((64, 64), 50)
        for split in Split:
            for index in range(12):
                path = folder / f"{split}-{index}.png"
                image.save(path)
                if f"{split}-{index}" in cut:
                    path.write_bytes(path.read_bytes()[:-1000])

    def read(self, study_id):
        read = super().read(study_id)
        return (
            read if isinstance(read, LeftOut) else replace(read, image_paths=(str(self._folder / f"{study_id}.png"),))
        )


def test_a_truncated_image_is_found_at_the_start(tmp_path):
    subset = BalancedSubset(num_studies=8, seed=0)
    with pytest.raises(
        DataError, match=r"study test-5: image .*test-5\.png is truncated or damaged .*on_bad_image=drop"
    ):
        ReportDataModule(FilesSource(tmp_path, {"test-5"}), subset, batches())


def test_a_study_whose_image_cannot_be_read_is_left_out_and_listed(tmp_path):
    cut = {"train-1", "train-8", "validate-2", "test-5"}
    source = FilesSource(tmp_path, cut)
    subset = BalancedSubset(num_studies=4, seed=0)
    made = [ReportDataModule(source, subset, batches(on_bad_image="drop")) for _ in range(2)]
    assert made[0].train_studies == made[1].train_studies, "every process and every resumed run sees the same"
    data = made[0]
    assert len(data.train_studies) == 4, "another study is taken in its place"
    assert not cut & {s.study_id for s in (*data.train_studies, *data.validate_studies, *data.test_studies)}
    dropped = [left_out.study_id for left_out in data.left_out if left_out.reason == "an image can't be read"]
    assert set(dropped) <= cut
    assert {"validate-2", "test-5"} <= set(dropped)
    with pytest.raises(DataError, match=r"study train-\d+ of the subset can't be used: an image can't be read"):
        ReportDataModule(
            FilesSource(tmp_path, {s.study_id for s in data.train_studies[:1]}),
            subset,
            batches(on_bad_image="drop"),
            data.manifest,
        )


def test_reports_alone_need_no_image(tmp_path):
    source = FilesSource(tmp_path, {"test-5"})
    assert len(EvaluationStudies.read(source, None, None).studies) == 8
    assert len(EvaluationStudies.read(source, None, "drop").studies) == 7
    with pytest.raises(DataError, match=r"test-5\.png is truncated or damaged"):
        EvaluationStudies.read(source, None)


def test_the_model_says_how_large_an_image_is_opened():
    opened = []

    class Recording(LazySource):
        def load_images(self, study, max_pixels=None):
            opened.append(max_pixels)
            return super().load_images(study)

    data = ReportDataModule(Recording(), BalancedSubset(num_studies=4, seed=0), batches())
    data.attach(Collate(SimpleNamespace(max_pixels=906304), Prompt("Write."), None))
    data.load_images(data.train_studies[0])
    assert next(iter(data.train_dataloader().dataset))[0] == data.train_studies[0]
    own, shuffled = data.test_dataloader()
    assert own.dataset[0][0] == shuffled.dataset[0][0] == data.test_studies[0]
    assert opened == [906304] * 4


def test_a_patient_in_two_splits_is_refused_by_the_studies():
    class OnePatient(LazySource):
        def read(self, study_id):
            study = super().read(study_id)
            return replace(study, patient_id="patient-7") if isinstance(study, Study) else study

    with pytest.raises(DataError, match=r"^a patient has study train-\d+ in train and study validate-\d+ in") as caught:
        ReportDataModule(OnePatient(), BalancedSubset(4, 0), batches())
    assert "patient-7" not in str(caught.value)
