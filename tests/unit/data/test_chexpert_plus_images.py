import pytest
from tests.unit.data.chexpert_folder import ChexpertFolder, label, row

from orapo.data.check import check_data_set
from orapo.data.chexpert_images import (
    find_image_folders,
    parse_image_name,
    parse_study_name,
    view_of_cells,
)
from orapo.data.chexpert_plus import ChexpertPlus
from orapo.errors import DataError

TRAIN = "train/patient00001/study1/view1_frontal.jpg"
VALID = "valid/patient64541/study1/view1_frontal.jpg"
PATHS = (TRAIN, "train/patient00002/study3/view1_frontal.jpg", VALID)
STUDIES = ("patient00001/study1", "patient00002/study3", "patient64541/study1")


@pytest.fixture
def folder(tmp_path):
    folder = ChexpertFolder(tmp_path).write_table([row(path) for path in PATHS])
    return folder.write_labels([label(path) for path in PATHS])


def paths(folder, images="auto"):
    source = ChexpertPlus(str(folder.root), num_validate_patients=1, images=images).open()
    studies = [source.read(study_id) for study_id in STUDIES]
    assert all(source.load_images(study)[0].mode == "RGB" for study in studies if ".dcm" not in study.image_paths[0])
    return [path.removeprefix(f"{folder.root}/") for study in studies for path in study.image_paths]


@pytest.mark.parametrize(
    ("base", "ending"),
    [
        ("PNG", ".png"),
        ("PNG/PNG", ".png"),
        ("png_chexpert_plus_chunk_0/PNG", ".png"),
        ("PNG/png_chexpert_plus_chunk_4/PNG", ".png"),
        (".", ".png"),
        ("CheXpert-v1.0", ".jpg"),
        ("CheXpert-v1.0-small", ".jpg"),
        (".", ".jpg"),
    ],
)
def test_each_layout_is_found(folder, base, ending):
    folder.write_images(PATHS, base, ending)
    prefix = "" if base == "." else f"{base}/"
    assert paths(folder) == [prefix + path.replace(".jpg", ending) for path in PATHS]


def test_the_images_of_a_set_may_lie_in_any_chunk(folder):
    for number, path in zip((0, 3, 10), PATHS, strict=True):
        folder.write_images([path], f"png_chexpert_plus_chunk_{number}/PNG")
    (folder.root / "png_chexpert_plus_chunk_1.zip").write_bytes(b"")
    assert paths(folder) == [
        f"png_chexpert_plus_chunk_{number}/PNG/{path[:-4]}.png" for number, path in zip((0, 3, 10), PATHS, strict=True)
    ]


def test_the_batches_of_the_large_chexpert_are_one_layout(folder):
    for path, batch in zip(
        PATHS, ("batch 2 (train 1)/", "batch 4 (train 3)/", "batch 1 (validate & csv)/valid/"), strict=True
    ):
        folder.write_images([path.split("/", 1)[1]], f"CheXpert-v1.0 {batch}", ".jpg")
    assert paths(folder)[1] == "CheXpert-v1.0 batch 4 (train 3)/patient00002/study3/view1_frontal.jpg"


def test_png_comes_before_jpeg_and_jpeg_before_dicom_unless_one_is_asked_for(folder):
    folder.write_images(PATHS, "PNG").write_images(PATHS, "CheXpert-v1.0-small", ".jpg")
    write_dicoms(folder, [f"DICOM/Compressed/{path[:-4]}.dcm" for path in PATHS])
    assert paths(folder)[0] == "PNG/train/patient00001/study1/view1_frontal.png"
    assert paths(folder, "jpg")[0] == "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    assert paths(folder, "dicom")[0] == "DICOM/Compressed/train/patient00001/study1/view1_frontal.dcm"


def test_a_layout_with_both_parts_comes_before_one_with_one_part(folder):
    folder.write_images([VALID], "PNG").write_images(PATHS, "CheXpert-v1.0", ".jpg")
    assert paths(folder)[2] == f"CheXpert-v1.0/{VALID}"


def test_small_jpegs_fill_no_gaps_of_the_large_ones(folder):
    folder.write_images(PATHS[1:], "CheXpert-v1.0", ".jpg").write_images(PATHS, "CheXpert-v1.0-small", ".jpg")
    with pytest.raises(DataError, match="image train/patient00001/study1/view1_frontal is missing"):
        paths(folder)


def test_the_kind_asked_for_must_be_there(folder):
    folder.write_images(PATHS)
    with pytest.raises(DataError, match=r"1 of 3 needed are missing: the images as dicom .*DICOM/Uncompressed/train"):
        paths(folder, "dicom")


def write_dicoms(folder, names):
    for name in names:
        path = folder.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("place", "column"),
    [
        ("train/patient00001/study1/view1_frontal.dcm", ""),
        ("train/patient00001/study1/a7.dcm", "train/patient00001/study1/a7.dcm"),
        ("train/patient00001/study1/a7.dcm", "patient00001/study1/a7.dcm"),
        ("train/patient00001/study1/a7.dcm", "/train/patient00001/study1/a7.dcm"),
    ],
)
def test_dicom_files_are_found_by_path_to_image_or_path_to_dcm(folder, place, column):
    write_dicoms(
        folder, [f"DICOM/Uncompressed/{name}" for name in (place, PATHS[1][:-4] + ".dcm", VALID[:-4] + ".dcm")]
    )
    folder.write_table([row(TRAIN, path_to_dcm=column), *(row(path) for path in PATHS[1:])])
    assert paths(folder)[0] == f"DICOM/Uncompressed/{place}"


def test_a_check_of_dicom_files_goes_on_after_a_row_that_names_no_image(folder):
    write_dicoms(folder, [f"DICOM/Uncompressed/{path[:-4]}.dcm" for path in PATHS])
    folder.write_table([row("train/patient1/s1/view1_frontal.jpg"), *map(row, PATHS)])
    report = check_data_set(ChexpertPlus(str(folder.root), images="dicom"), num_opened=0)
    assert "line 2: 'train/patient1/s1/view1_frontal.jpg' does not end like" in report.problems[0]
    assert (report.counts["studies"], report.counts["image files"]) == (3, 3)


def test_dicom_files_are_opened(folder):
    numpy, pydicom = pytest.importorskip("numpy"), pytest.importorskip("pydicom")
    write_dicoms(folder, names := [f"DICOM/Uncompressed/{path[:-4]}.dcm" for path in PATHS])
    for name in names:
        pixels = (numpy.arange(48 * 64) % 4096).astype(numpy.uint16).reshape(48, 64)
        dataset = pydicom.Dataset()
        dataset.set_pixel_data(pixels, "MONOCHROME2", 12, generate_instance_uid=False)
        dataset.SOPClassUID, dataset.SOPInstanceUID = pydicom.uid.SecondaryCaptureImageStorage, "1.2.3"
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.save_as(folder.root / name, enforce_file_format=True)
    source = ChexpertPlus(str(folder.root), num_validate_patients=1).open()
    assert [image.size for image in source.load_images(source.read(STUDIES[0]))] == [(64, 48)]


def test_a_folder_called_val_is_valid(folder):
    folder.write_images([path.replace("valid/", "val/") for path in PATHS], "CheXpert", ".jpg")
    assert paths(folder)[2] == "CheXpert/val/patient64541/study1/view1_frontal.jpg"


def test_an_empty_folder_has_no_images(tmp_path):
    (tmp_path / "train" / "patient00001" / "study1").mkdir(parents=True)
    assert not find_image_folders(tmp_path, images="auto", parts=("train",)).of_part


def test_hidden_files_tell_no_kind(tmp_path):
    ChexpertFolder(tmp_path).write_images([TRAIN], ".", ".jpg")
    (tmp_path / "train" / "patient00001" / "study1" / ".index").write_bytes(b"")
    assert find_image_folders(tmp_path, images="auto", parts=("train",)).kind == "jpg"


@pytest.mark.parametrize("prefix", ["", "CheXpert-v1.0/", "/a/b/"])
def test_names_are_read_whatever_stands_before(prefix):
    study, stem = parse_image_name(f"{prefix}val/patient64541/study1/view2_lateral.jpg")
    assert (study.key, stem) == ("valid/patient64541/study1", "view2_lateral")
    assert parse_study_name(f"{prefix}test/patient64741/study1").part == "test"


@pytest.mark.parametrize(
    "path", ["patient1/study1", "dev/patient1/study1", "train/1/study1", "train/patient/study1", "train/patient1/s1"]
)
def test_other_study_paths_are_refused(path):
    with pytest.raises(DataError, match="does not end like train/patient00001/study1"):
        parse_study_name(path)


def test_views_are_named_by_both_columns():
    names = [
        view_of_cells(*cells) for cells in (("Frontal", "AP"), ("Frontal", "ll"), ("Frontal", ""), ("Frontal", "nan"))
    ]
    assert [*names, view_of_cells("Lateral", ""), view_of_cells("Lateral", "AP")] == [
        "AP",
        "LL",
        "FRONTAL",
        "FRONTAL",
        "LATERAL",
        "LATERAL",
    ]
