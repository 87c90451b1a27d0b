"""The real sources read the miniatures: every study, every reason for leaving one out, every label and every text."""

from collections import Counter
from types import SimpleNamespace

import pytest

from orapo.data.balanced_subset import BalancedSubset
from orapo.data.check import check_data_set
from orapo.data.chexpert_gold import ChexpertGold
from orapo.data.chexpert_plus import ChexpertPlus
from orapo.data.collate import Collate
from orapo.data.datamodule import BatchSettings, ReportDataModule
from orapo.data.mimic_cxr import MimicCxr
from orapo.data.miniature import write_miniature_chexpert_plus, write_miniature_mimic_cxr
from orapo.data.miniature.chexpert_plus import chexbert_labels
from orapo.data.miniature.mimic_cxr import table_labels
from orapo.data.miniature.studies import Trait, make_studies
from orapo.data.source import LeftOut
from orapo.foreign import open_regular
from orapo.prompt import Prompt
from orapo.records import Split, Study

NUM_PATIENTS, SEED = 30, 3
TEXT_OF = {
    "findings": lambda study: [study.findings],
    "impression": lambda study: [study.impression],
    "both": lambda study: ["Findings:", study.findings, "Impression:", study.impression],
}


@pytest.fixture(scope="module")
def studies():
    return make_studies(NUM_PATIENTS, SEED)


@pytest.fixture(scope="module")
def plus_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniature") / "plus"
    write_miniature_chexpert_plus(folder, NUM_PATIENTS, SEED)
    return str(folder)


@pytest.fixture(scope="module", params=[("2.1.0", False), ("2.0.0", True)], ids=["files", "zip"])
def mimic_root(request, tmp_path_factory):
    version, zip_reports = request.param
    folder = tmp_path_factory.mktemp("miniature") / "mimic"
    write_miniature_mimic_cxr(folder, NUM_PATIENTS, SEED, version=version, zip_reports=zip_reports)
    return str(folder)


def words(text):
    """Sentences as the phantom has them, without numbers of a list, in lower case."""
    return [word for word in text.lower().split() if not word.rstrip(".").isdigit()]


def reason(study, sections):
    """Why a study can't be used, in the order in which the sources look; "" when it can."""
    if "LATERAL" in study.views and len(study.views) == 1:
        return "no frontal image"
    texts = dict(zip(("findings", "impression"), (study.findings, study.impression), strict=True))
    missing = [name for name in ("findings", "impression") if sections in (name, "both") and not texts[name]]
    return f"no {missing[0]} section" if missing else ""


def expect(studies, sections):
    """Usable studies, and counts of the reasons of the others."""
    reasons = {study.serial: reason(study, sections) for study in studies}
    return [study for study in studies if not reasons[study.serial]], Counter(filter(None, reasons.values()))


def check_study(study, made, source, sections):
    assert isinstance(study, Study)
    assert study.views == tuple(view for view in made.views if view != "LATERAL")
    read = [word for line in study.oracle_report.split("\n") for word in words(line)]
    expected = [word for text in TEXT_OF[sections](made) for word in words(text)]
    if made.trait is Trait.TWO_FRONTALS and "compared" in read:
        del read[read.index("compared") : read.index("compared") + 3]  # "compared with DATE."
    assert read == expected
    assert {image.size for image in source.load_images(study)} == {(112, 112)}


@pytest.mark.parametrize("sections", TEXT_OF)
def test_chexpert_plus(plus_root, studies, sections):
    source = ChexpertPlus(plus_root, target=sections, num_validate_patients=4).open()
    public = [study for study in studies if study.split is not Split.TEST]
    usable, reasons = expect(public, sections)
    by_id = {f"patient{90000 + study.patient}/study{study.number}": study for study in usable}
    listed = {split: [entry.study_id for entry in source.entries(split)] for split in Split}
    assert listed[Split.TEST] == [name for name, study in by_id.items() if study.split is Split.VALIDATE]
    assert sorted(listed[Split.TRAIN] + listed[Split.VALIDATE]) == sorted(
        name for name, study in by_id.items() if study.split is Split.TRAIN
    )
    assert listed[Split.VALIDATE]
    assert Counter(left_out.reason for split in Split for left_out in source.left_out(split)) == reasons
    chexbert = "report" if sections == "both" else sections
    for split in Split:
        for entry in source.entries(split):
            made = by_id[entry.study_id]
            assert entry.labels == chexbert_labels(made, chexbert)
            check_study(source.read(entry.study_id), made, source, sections)


@pytest.mark.parametrize("sections", TEXT_OF)
def test_the_labeler_agrees_with_the_labels_that_come_along(plus_root, sections):
    given = ChexpertPlus(plus_root, target=sections, num_validate_patients=4).open()
    own = ChexpertPlus(plus_root, target=sections, num_validate_patients=4, labels="labeler").open()
    for split in Split:
        assert [entry.labels for entry in own.entries(split)] == [entry.labels for entry in given.entries(split)]


@pytest.mark.parametrize("sections", TEXT_OF)
def test_mimic_cxr(mimic_root, studies, sections):
    source = MimicCxr(mimic_root, target=sections).open()
    labelled = [study for study in studies if study.trait is not Trait.NO_LABELS]
    usable, reasons = expect(labelled, sections)
    by_id = {f"s{90_000_000 + study.serial}": study for study in studies}
    left_out = [found for split in Split for found in source.left_out(split)]
    for split in Split:
        for entry in source.entries(split):
            made = by_id[entry.study_id]
            assert (made.split, entry.patient_id) == (split, f"p{90_000_000 + made.patient}")
            assert entry.labels == table_labels(made)
            study = source.read(entry.study_id)
            if isinstance(study, LeftOut):
                left_out.append(study)
            else:
                usable.remove(made)
                check_study(study, made, source, sections)
    assert usable == []
    no_labels = sum(study.trait is Trait.NO_LABELS for study in studies)
    assert Counter(found.reason for found in left_out) == reasons + Counter({"no labels": no_labels})


def test_the_radiologist_s_labels(tmp_path, studies):
    write_miniature_mimic_cxr(tmp_path / "m", NUM_PATIENTS, SEED)
    source = MimicCxr(str(tmp_path / "m"), radiologist_test_labels=True, test_studies="radiologist").open()
    test = {f"s{90_000_000 + s.serial}": s for s in studies if s.split is Split.TEST and s.views != ("LATERAL",)}
    assert {entry.study_id: entry.labels for entry in source.entries(Split.TEST)} == {
        study_id: table_labels(study) for study_id, study in test.items()
    }


@pytest.mark.parametrize(("part", "split"), [("valid", Split.VALIDATE), ("test", Split.TEST)])
def test_gold_labels(plus_root, studies, part, split):
    source = ChexpertGold(plus_root, part=part).open()
    made = [s for s in studies if s.split is split and s.views != ("LATERAL",)]
    entries = source.entries(Split.TEST)
    assert [entry.study_id for entry in entries] == [f"patient{90000 + s.patient}/study{s.number}" for s in made]
    for entry, study in zip(entries, made, strict=True):
        present = {o for o, state in entry.labels.items() if state.value == "positive"}
        assert present - {"No Finding"} == study.drawn
        assert ("No Finding" in present) is study.states_nothing_found
        assert source.load_images(source.read(entry.study_id))[0].size == (112, 112)


def test_checks_find_no_problem(plus_root, mimic_root):
    assert check_data_set(ChexpertPlus(plus_root)).problems == ()
    assert check_data_set(MimicCxr(mimic_root)).problems == ()


def check_data_module(make_source, monkeypatch):
    opened = []
    monkeypatch.setattr("builtins.open", noting(open, opened))
    source = make_source()
    settings = BatchSettings(1, 1, None, 1, None, None, 0, 0)
    module = ReportDataModule(source, BalancedSubset(num_studies=8, seed=0), settings)
    studies = (*module.train_studies, *module.validate_studies, *module.test_studies)
    used = {path for study in studies for path in study.image_paths}
    assert {path for path in opened if path.endswith((".png", ".jpg"))} <= used  # looked at, before the run
    opened.clear()
    module.attach(Collate(SimpleNamespace(max_pixels=None), Prompt("Write."), None))
    study, images, _ = module.load_images(module.train_studies[0])
    assert [path for path in opened if path.endswith((".png", ".jpg"))] == list(study.image_paths)
    assert len(images) == len(study.image_paths)
    assert len(module.train_studies) == 8
    assert module.validate_studies
    assert module.test_studies
    assert module.left_out


def noting(original, opened):
    def noting_open(path, *arguments, **options):
        opened.append(str(path))
        return original(path, *arguments, **options)

    return noting_open


def test_the_data_module_opens_images_of_chexpert_plus_when_they_are_needed(plus_root, monkeypatch):
    check_data_module(lambda: ChexpertPlus(plus_root, num_validate_patients=4).open(), monkeypatch)


def test_the_data_module_opens_images_of_mimic_cxr_when_they_are_needed(mimic_root, monkeypatch):
    check_data_module(lambda: MimicCxr(mimic_root).open(), monkeypatch)


def test_mimic_cxr_opens_reports_of_studies_that_are_read_and_no_other(tmp_path, monkeypatch):
    write_miniature_mimic_cxr(tmp_path / "m", NUM_PATIENTS, SEED)
    opened = []
    monkeypatch.setattr("orapo.data.text_files.open_regular", noting(open_regular, opened))
    source = MimicCxr(str(tmp_path / "m")).open()
    assert opened == []
    study_id = source.entries(Split.TRAIN)[0].study_id
    source.read(study_id)
    assert [path.rpartition("/")[2] for path in opened] == [f"{study_id}.txt"]
