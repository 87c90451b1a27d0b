"""What every source of tables keeps to, on the miniature of each: listing, splits, digest, texts, images, priors."""

import pickle
import re
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from orapo.chexpert import OBSERVATIONS
from orapo.data.annotation import Annotation
from orapo.data.check import check_data_set
from orapo.data.chexpert_gold import ChexpertGold
from orapo.data.chexpert_plus import ChexpertPlus
from orapo.data.hf_dataset import HfDataset
from orapo.data.iu_xray import IuXray
from orapo.data.json_studies import RexGradient, RexRank
from orapo.data.mimic_cxr import MimicCxr
from orapo.data.miniature import (
    write_miniature_annotation,
    write_miniature_chexpert_plus,
    write_miniature_hf_dataset,
    write_miniature_iu_xray,
    write_miniature_mimic_cxr,
    write_miniature_rexgradient,
    write_miniature_rexrank,
    write_miniature_study_table,
)
from orapo.data.source import LeftOut, StudySource
from orapo.data.study_table import StudyTable
from orapo.errors import DataError
from orapo.records import Split, Study

NUM_PATIENTS = 20
WRITERS = {
    "mimic_cxr": write_miniature_mimic_cxr,
    "chexpert_plus": write_miniature_chexpert_plus,
    "annotation": write_miniature_annotation,
    "hf_dataset": write_miniature_hf_dataset,
    "rexgradient": write_miniature_rexgradient,
    "iu_xray": write_miniature_iu_xray,
    "iu_xray_xml": partial(write_miniature_iu_xray, layout="xml"),
    "rexrank": write_miniature_rexrank,
    "study_table": write_miniature_study_table,
}
SETTINGS = {
    "mimic_cxr": lambda root, **options: MimicCxr(root, **options),
    "chexpert_plus": lambda root, **options: ChexpertPlus(root, num_validate_patients=4, **options),
    "chexpert_gold": lambda root, **options: ChexpertGold(root, **options),
    "annotation": lambda root, **options: Annotation(f"{root}/annotation.json", root, **options),
    "hf_dataset": lambda root, **options: HfDataset(root, **options),
    "rexgradient": lambda root, **options: RexGradient(root, **options),
    "iu_xray": lambda root, **options: IuXray(root, **options),
    "iu_xray_xml": lambda root, **options: IuXray(root, **options),
    "rexrank": lambda root, **options: RexRank(f"{root}/studies.json", root, **options),
    "study_table": lambda root, **options: StudyTable(f"{root}/studies.csv", root, **options),
}
WITH_TARGET = ("mimic_cxr", "chexpert_plus", "chexpert_gold", "rexgradient", "iu_xray", "iu_xray_xml", "rexrank")
WITH_TIMES = ("mimic_cxr", "chexpert_plus", "rexgradient", "study_table")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniatures")
    for name, write in WRITERS.items():
        write(folder / name, NUM_PATIENTS)
    return {name: str(folder / name) for name in WRITERS} | {"chexpert_gold": str(folder / "chexpert_plus")}


@pytest.fixture(params=SETTINGS)
def name(request):
    return request.param


@pytest.fixture
def make(name, roots):
    return lambda **options: SETTINGS[name](roots[name], **options)


def listed(source):
    return [entry for split in Split for entry in source.entries(split)]


def read_all(source):
    return [study for entry in listed(source) if isinstance(study := source.read(entry.study_id), Study)]


def noting(original, opened):
    def noting_open(path, *arguments, **options):
        opened.append(str(path))
        return original(path, *arguments, **options)

    return noting_open


def test_a_source_lists_studies_without_opening_a_report_or_an_image(make, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr("builtins.open", noting(open, opened))
    monkeypatch.setattr(Path, "read_bytes", noting(Path.read_bytes, opened))
    source = make().open()
    assert isinstance(source, StudySource)
    assert source.entries(Split.TEST)
    assert not [path for path in opened if path.endswith((".png", ".jpg", ".txt"))]


def test_two_openings_list_the_same_in_the_same_order(make):
    first, second = make().open(), make().open()
    assert [entry.study_id for entry in listed(first)] == [entry.study_id for entry in listed(second)]
    assert len({entry.study_id for entry in listed(first)}) == len(listed(first))
    assert first.digest() == second.digest()
    assert re.fullmatch("2:[0-9a-f]{64}", first.digest())


def test_no_patient_is_in_two_splits(make):
    source = make(views="all").open()
    patients = [{entry.patient_id for entry in source.entries(split)} for split in Split]
    assert Counter(patient for of_split in patients for patient in of_split).most_common(1)[0][1] == 1


def test_what_is_read_is_what_was_listed(make):
    source = make().open()
    for split in Split:
        for entry in source.entries(split):
            study = source.read(entry.study_id)
            if isinstance(study, LeftOut):
                assert study.reason.endswith("section")
                continue
            assert (study.study_id, study.patient_id, study.split) == (entry.study_id, entry.patient_id, split)
            assert study.labels is entry.labels
            assert list(study.labels) == list(OBSERVATIONS)
            assert len(study.image_paths) == len(study.views) >= 1
            assert len(source.load_images(study)) == len(study.image_paths)
            assert study.oracle_report == study.oracle_report.strip()


def test_every_study_is_listed_or_left_out_with_a_reason(make):
    source, everything = make().open(), make(views="all").open()
    names = [entry.study_id for entry in listed(source)]
    names += [left_out.study_id for split in Split for left_out in source.left_out(split)]
    assert len(names) == len(set(names))
    assert set(names) >= {entry.study_id for entry in listed(everything)}
    reasons = {left_out.reason for split in Split for left_out in source.left_out(split)}
    assert reasons <= {"no frontal image", "no findings section", "no labels", "no report"}


def test_views_and_the_number_of_images(make, name):
    source = make(views="all", max_images=1, longest_side=40).open()
    studies = read_all(source)
    assert {len(study.image_paths) for study in studies} == {1}
    assert {max(image.size) for image in source.load_images(studies[0])} == {40}
    if name not in ("annotation", "iu_xray_xml", "hf_dataset"):  # which tell no views
        assert "LATERAL" not in {view for study in read_all(make().open()) for view in study.views}
        assert "LATERAL" in {view for study in read_all(make(views="all").open()) for view in study.views}


def test_the_digest_follows_settings_but_not_the_place(make, name, roots, tmp_path):
    first = make().open().digest()
    others = [make(**options).open().digest() for options in ({"max_images": 1}, {"longest_side": 64}, {"prior": True})]
    assert len({first, *others}) == 4
    moved = tmp_path / "moved"
    moved.symlink_to(roots[name], target_is_directory=True)
    assert SETTINGS[name](str(moved)).open().digest() == first


def test_an_unknown_study_is_one_line(make):
    with pytest.raises(DataError, match=r"study nobody is not listed, or it is left out$"):
        make().open().read("nobody")


def test_a_source_can_be_sent_to_another_process(make):
    source = make().open()
    study_id = listed(source)[0].study_id
    assert pickle.loads(pickle.dumps(source)).read(study_id) == source.read(study_id)


def test_texts_of_each_target(make, name):
    if name not in WITH_TARGET:
        pytest.skip("its reports have no sections")
    texts = {
        target: {s.study_id: s.oracle_report for s in read_all(make(target=target).open())}
        for target in ("findings", "impression", "both")
    }
    if name == "chexpert_gold":  # without a folder of reports
        assert set(texts["both"].values()) == {""}
        return
    assert texts["both"]
    for study_id, text in texts["both"].items():
        assert text == f"Findings: {texts['findings'][study_id]} Impression: {texts['impression'][study_id]}"


def test_a_prior_is_earlier_of_the_same_patient_and_split_and_read_only_when_asked_for(make, name):
    source = make(prior=True).open()
    studies = {study.study_id: study for study in read_all(source)}
    priors = {study.study_id: study.context.prior for study in studies.values() if study.context.prior}
    assert bool(priors) is (name in WITH_TIMES)
    for study_id, prior in priors.items():
        assert prior.report
        if prior.study_id in studies:
            before, now = studies[prior.study_id], studies[study_id]
            assert (before.patient_id, before.split) == (now.patient_id, now.split)
            assert before.oracle_report == prior.report
            assert before.context.prior is None or before.context.prior.study_id != study_id
        assert prior.days_before is None or prior.days_before >= 0
        assert len(prior.image_paths) == len(prior.views)
    assert {study.context.prior for study in read_all(make().open())} == {None}


def test_the_miniature_has_no_problem(make):
    report = check_data_set(make(), num_opened=None, compare_images=False)
    assert report.problems == ()
    assert report.counts["image files"] == report.counts["images"]
