import pickle
import re

import numpy as np
import pytest
from tests.unit.data.mimic_cxr_folder import LABELS, Mimic, image, report, stem
from torch.utils.data import DataLoader, Dataset

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.balanced_subset import BalancedSubset
from orapo.data.datamodule import BatchSettings, ReportDataModule
from orapo.data.mimic_cxr import MimicCxr
from orapo.data.source import LeftOut, StudySource
from orapo.errors import DataError, SettingError
from orapo.labeler.types import LabeledReport
from orapo.records import Split

P, N, U, B = LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN, LabelState.UNMENTIONED

ROWS = (
    image(1, 1, "LATERAL", "101500.1"),
    image(1, 2, "AP", "101501.25"),
    image(1, 3, "PA", "95959"),
    image(2, 1, "LL", patient=1),
    image(3, 1, "", meaning="antero-posterior"),
    image(4, 1, "", meaning="lateral"),
    image(5, 1, ""),
    image(6, 1, "AP"),
    image(7, 1, split="validate"),
    image(8, 1, split="test"),
    image(9, 1, split="test"),
    image(10, 1, split="test"),
)


@pytest.fixture
def mimic(tmp_path):
    made = Mimic(tmp_path, ROWS)
    del made.labels[90000006]
    made.radiologist = {90000008: {"Airspace Opacity": "1.0", "Fracture": "0.0"}, 90000010: {"No Finding": "1"}}
    return made


def ids(source, split=Split.TRAIN):
    return [int(entry.study_id.removeprefix("s9")) for entry in source.entries(split)]


def left_out(source, split=Split.TRAIN):
    return {int(study.study_id.removeprefix("s9")): study.reason for study in source.left_out(split)}


def found(labels):
    return {observation.value: state for observation, state in labels.items() if state is not B}


class WordLabeler:
    """Finds edema wherever the word stands."""

    def label(self, text):
        states = dict.fromkeys(OBSERVATIONS, B)
        if "edema" in text.lower():
            states[Observation.EDEMA] = P
        return LabeledReport(states, ())


@pytest.mark.parametrize("version", ["2.0.0", "2.1.0"])
@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_both_versions_are_read_gzipped_or_not_from_zip_or_folder(mimic, version, gz, zipped):
    mimic.write(version=version, gz=gz, zipped=zipped, label_columns=list(reversed(LABELS)))
    source = MimicCxr(str(mimic.root)).open()
    assert isinstance(source, StudySource)
    assert ids(source) == [1, 3]
    assert left_out(source) == {
        2: "no frontal image",
        4: "no frontal image",
        5: "no frontal image",
        6: "no labels",
    }
    assert (ids(source, Split.VALIDATE), ids(source, Split.TEST)) == ([7], [8, 9, 10])
    assert left_out(source, Split.VALIDATE) == left_out(source, Split.TEST) == {}
    study = source.read("s90000001")
    assert (study.patient_id, study.split, study.views) == ("p90000001", Split.TRAIN, ("PA", "AP"))
    folder = mimic.root / "files/p90/p90000001/s90000001"
    assert study.image_paths == tuple(str(folder / f"00000001-0000000{number}.jpg") for number in (3, 2))
    assert study.oracle_report == "Small effusion on the left."
    assert found(study.labels) == {"Edema": P, "Pneumonia": N, "Fracture": U}
    assert list(study.labels) == list(OBSERVATIONS)
    assert study.labels is source.entries(Split.TRAIN)[0].labels is source.read("s90000003").labels
    images = source.load_images(study)
    assert [(np.asarray(shown).max(), shown.mode, shown.size) for shown in images] == [
        (20, "RGB", (80, 60)),
        (10, "RGB", (80, 60)),
    ]


def test_all_views_come_frontal_first_and_can_be_limited(mimic):
    mimic.write()
    source = MimicCxr(str(mimic.root), views="all").open()
    assert ids(source) == [1, 2, 3, 4, 5]
    views = {study: source.read(f"s9000000{study}").views for study in range(1, 6)}
    assert views == {1: ("PA", "AP", "LATERAL"), 2: ("LL",), 3: ("AP",), 4: ("LATERAL",), 5: ("",)}
    assert MimicCxr(str(mimic.root), views="all", max_images=2).open().read("s90000001").views == ("PA", "AP")
    limited = MimicCxr(str(mimic.root), max_images=1, longest_side=40).open()
    assert limited.read("s90000001").views == ("PA",)
    assert limited.load_images(limited.read("s90000001"))[0].size == (40, 30)


@pytest.mark.parametrize(
    ("sections", "texts"),
    [
        ("findings", ["F one.", "no findings section", "F three."]),
        ("impression", ["I one.", "I two.", "no impression section"]),
        ("both", ["Findings: F one. Impression: I one.", "no findings section", "no impression section"]),
    ],
)
def test_a_report_without_the_sections_is_left_out_when_read(tmp_path, sections, texts):
    mimic = Mimic(tmp_path, [image(1, 1), image(2, 1), image(3, 1)])
    parts = (("F one.", "I one."), (None, "I two."), ("F\n three.", None))
    mimic.reports = {90000000 + n: report(*part) for n, part in enumerate(parts, 1)}
    source = MimicCxr(str(mimic.write().root), target=sections).open()
    assert ids(source) == [1, 2, 3]
    read = [source.read(entry.study_id) for entry in source.entries(Split.TRAIN)]
    assert [study.reason if isinstance(study, LeftOut) else study.oracle_report for study in read] == texts


def test_negbio_labels_are_another_table(mimic):
    mimic.write(leave=("chexpert",))
    source = MimicCxr(str(mimic.root), labels="negbio").open()
    assert found(source.entries(Split.TRAIN)[0].labels) == {"No Finding": P}
    with pytest.raises(DataError, match=r"1 of 5 needed are missing: the CheXpert labels .*chexpert\.csv\.gz and "):
        MimicCxr(str(mimic.root)).open()


def test_the_labeler_labels_the_sections_asked_for(mimic):
    mimic.reports[90000001] = report("Edema.", "Nothing.")
    mimic.reports[90000003] = report(None, "Edema.")
    mimic.write(leave=("chexpert", "negbio"))
    source = MimicCxr(str(mimic.root), labels="labeler", labeler=WordLabeler()).open()
    assert ids(source) == [1, 6]
    assert left_out(source)[3] == "no findings section"
    assert [found(entry.labels) for entry in source.entries(Split.TRAIN)] == [{"Edema": P}, {}]
    impressions = MimicCxr(str(mimic.root), labels="labeler", target="impression").open()
    assert found(impressions.entries(Split.TRAIN)[1].labels) == {"Edema": P}


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_table_written_by_the_labeler_is_read(mimic, ending):
    from orapo.labeler.command import main

    mimic.write()
    reports, labels = mimic.folder / "reports.csv", mimic.folder / f"labels{ending}"
    reports.write_text("study_id,report\ns90000001,Moderate pulmonary edema.\n90000003,There is no pneumothorax.\n")
    assert main([str(reports), str(labels), "--column", "report"]) == 0
    source = MimicCxr(str(mimic.root), labels="table", label_table=str(labels)).open()
    assert [found(entry.labels).get("Edema") for entry in source.entries(Split.TRAIN)] == [P, None]
    assert [found(entry.labels).get("Pneumothorax") for entry in source.entries(Split.TRAIN)] == [None, N]
    assert left_out(source)[6] == "no labels"


def test_a_radiologist_may_label_the_test_split(mimic):
    mimic.radiologist[90000001] = {"Fracture": "1"}  # of the training split, so passed over
    mimic.write()
    replaced = MimicCxr(str(mimic.root), radiologist_test_labels=True).open()
    labels = [found(entry.labels) for entry in replaced.entries(Split.TEST)]
    usual = {"Edema": P, "Pneumonia": N, "Fracture": U}
    assert labels == [{"Lung Opacity": P, "Fracture": N}, usual, {"No Finding": P}]
    assert found(replaced.entries(Split.TRAIN)[0].labels) == usual
    only = MimicCxr(str(mimic.root), test_studies="radiologist").open()
    assert (ids(only, Split.TEST), left_out(only, Split.TEST)) == ([8, 10], {9: "no radiologist's labels"})
    assert found(only.entries(Split.TEST)[0].labels) == usual
    assert ids(only) == [1, 3]


def test_labels_of_other_studies_are_refused_or_told(mimic, caplog):
    mimic.radiologist = {90000001: {"Edema": "1"}}
    mimic.write()
    with pytest.raises(
        DataError, match=r"labels of no study of the test split; it has 1 by study_id, for example 90000001,"
    ):
        MimicCxr(str(mimic.root), radiologist_test_labels=True).open()
    mimic.radiologist[90000008] = {}
    mimic.write()
    MimicCxr(str(mimic.root), radiologist_test_labels=True).open()
    assert "1 of 2 labelled studies are not in the test split" in caplog.text


def test_a_missing_report_or_image_is_named_with_where_to_get_it(mimic):
    del mimic.reports[90000003]
    mimic.write(zipped=False)
    source = MimicCxr(str(mimic.root)).open()
    path = re.escape(f"s90000003.txt in {mimic.root}/files")
    with pytest.raises(DataError, match=rf"^study s90000003: there is no report {path}; .*/mimic-cxr/2\.1\.0/$"):
        source.read("s90000003")
    (mimic.root / stem(90000001, 90000001) / "00000001-00000002.jpg").unlink()
    with pytest.raises(DataError, match=r"^study s90000001: there is no image .*00000001-00000002 .*mimic-cxr-jpg"):
        source.read("s90000001")
    with pytest.raises(DataError, match="study s90000004 is not listed"):
        source.read("s90000004")


def test_images_of_mimic_cxr_itself_are_found_too(mimic):
    source = MimicCxr(str(mimic.write(suffix=".png").root)).open()
    assert source.read("s90000003").image_paths[0].endswith("00000003-00000001.png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "report"}, "target is 'report'"),
        ({"views": "PA"}, "views is 'PA'"),
        ({"max_images": 0}, "max_images is 0"),
        ({"labels": "chexbert"}, "labels is 'chexbert'; it must be one of chexpert, negbio, labeler, table"),
        ({"labels": "table"}, "label_table is None and labels is 'table'"),
        ({"label_table": "a.csv"}, "label_table is 'a.csv' and labels is 'chexpert'"),
        ({"test_studies": "gold"}, "test_studies is 'gold'; it must be one of all, radiologist"),
        ({"radiologist_test_labels": "yes"}, "radiologist_test_labels is 'yes'; it must be true or false"),
        ({"longest_side": 1}, "longest_side is 1"),
    ],
)
def test_settings_are_checked_before_anything_is_read(options, message):
    with pytest.raises(SettingError, match=message):
        MimicCxr(None, **options).open()


def test_the_folder_must_be_given():
    with pytest.raises(DataError, match=r"MIMIC-CXR: no folder given; set data.root or .* ORAPO_MIMIC_ROOT"):
        MimicCxr(None).open()


def test_the_digest_follows_what_determines_the_studies(mimic, tmp_path):
    def digest(**options):
        return MimicCxr(str(mimic.root), **options).open().digest()

    mimic.write()
    first = digest()
    assert digest() == first
    changes = [
        {"views": "all"},
        {"max_images": 1},
        {"target": "impression"},
        {"labels": "negbio"},
        {"longest_side": 64},
        {"radiologist_test_labels": True},
    ]
    assert len({first, *(digest(**change) for change in changes)}) == 7
    for key in ("gz", "zipped"):
        for path in mimic.root.glob("mimic-cxr-*"):
            path.unlink()
        assert (mimic.write(**{key: False}).root, digest()) == (mimic.root, first)
    moved = Mimic(tmp_path / "elsewhere", ROWS)
    moved.labels = mimic.labels
    assert MimicCxr(str(moved.write().root)).open().digest() == first
    moved.rows = [row | {"ViewPosition": row["ViewPosition"].replace("AP", "PA")} for row in ROWS]
    assert MimicCxr(str(moved.write().root)).open().digest() != first
    moved.rows = list(ROWS)
    moved.labels[90000008] = {"Edema": "0.0"}
    assert MimicCxr(str(moved.write().root)).open().digest() != first


class Reports(Dataset):
    """Reads studies in whichever process asks."""

    def __init__(self, source):
        self.source = source
        self.ids = [entry.study_id for entry in source.entries(Split.TRAIN)]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        study = self.source.read(self.ids[index])
        return study.study_id, study.oracle_report, np.asarray(self.source.load_images(study)[0]).max()


def test_two_worker_processes_read_from_one_zip(tmp_path):
    mimic = Mimic(tmp_path, [image(number, 1) for number in range(1, 25)])
    mimic.reports = {study: report(f"Line {study} " * (study % 97 + 1)) for study in mimic.studies}
    source = MimicCxr(str(mimic.write().root)).open()
    source.read("s90000001")  # the zip is open before the workers start
    loader = DataLoader(Reports(source), batch_size=None, num_workers=2, multiprocessing_context="fork")
    expected = [
        (f"s{study}", " ".join(f"Line {study} ".split() * (study % 97 + 1)), 10 * index)
        for index, study in enumerate(mimic.studies)
    ]
    assert [tuple(row) for row in loader] == expected
    # Spawned workers get a pickled source.
    assert pickle.loads(pickle.dumps(source)).read("s90000002") == source.read("s90000002")


def test_a_data_module_trains_on_it(mimic):
    mimic.reports[90000001] = report(None)
    mimic.write()
    source = MimicCxr(str(mimic.root)).open()
    settings = BatchSettings(1, 1, None, 1, None, None, 0, 0)
    module = ReportDataModule(source, BalancedSubset(1, 0), settings)
    assert [study.study_id for study in module.train_studies] == ["s90000003"]
    assert LeftOut("s90000006", "no labels") in module.left_out
