"""Rules about whole files: names, endings and content that give away images, archives and data sets."""

import re
from collections.abc import Iterator

from finding import Finding
from identifiers import is_made_up

_ENDINGS = {
    "an image": "png jpg jpeg jpe jp2 j2k jls bmp gif tif tiff webp heic avif pgm ppm ico psd svgz pdf mp4 avi mov",
    "a medical image": "dcm dicom dic ima nii mha mhd nrrd mgz mgh img hdr",
    "an archive": "zip tar gz tgz bz2 tbz2 xz txz zst 7z rar lz4 jar whl",
    "a table of data": "csv tsv jsonl ndjson xls xlsx ods docx parquet arrow feather avro orc "
    "sqlite sqlite3 db mdb lmdb",
    "an array, a dump or weights": "npy npz mat h5 hdf5 pkl pickle joblib pt pth ckpt safetensors onnx "
    "tfrecord bin rds",
}
_KIND_OF_ENDING = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings.split()}

_MAGIC = (
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"BM", "a BMP image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (8, b"WEBP", "a WebP image"),
    (4, b"jP  ", "a JPEG 2000 image"),
    (4, b"ftyp", "a video or HEIC image"),
    (0, b"%PDF", "a PDF"),
    (128, b"DICM", "a DICOM file"),
    (344, b"n+1\0", "a NIfTI volume"),
    (344, b"ni1\0", "a NIfTI volume"),
    (0, b"NRRD", "an NRRD volume"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"PK\3\4", "a zip archive"),
    (0, b"BZh", "bzip2 data"),
    (0, b"\xfd7zXZ", "xz data"),
    (0, b"\x28\xb5\x2f\xfd", "zstd data"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"Rar!", "a rar archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"ARROW1", "an Arrow table"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"SQLite format 3", "an SQLite file"),
    (0, b"version https://git-lfs", "a Git LFS pointer, whose content can't be seen here"),
)
_ALWAYS_TELLING = (b"%PDF", b"NRRD", b"ustar", b"version https://git-lfs", b"PAR1", b"DICM")  # may come without NUL

_DATA_SET_FILE = re.compile(
    r"df_chexpert_plus.*|png_chexpert_plus.*|chexpert_plus.*\.(?:csv|json|zip)|(?:findings|impression|report)_fixed\.json"
    r"|section_(?:findings|impression)\.json|mimic[-_]cxr[-_].*\.(?:csv|json|txt|zip|gz)|cxr-(?:record|study|provider)-list.*"
    r"|(?:[\w-]+_)?annotations?\.json",
    re.IGNORECASE,
)
_DATA_SET_FOLDER = re.compile(r"CheXpert-v1\.0.*|mimic-cxr(?:-jpg)?(?:-\d[\d.]*)?|physionet\.org", re.IGNORECASE)
_RUN_OUTPUT = re.compile(r"(?:logs|sweeps|outputs|multirun|wandb|mlruns)/(?!\.gitkeep$)")


def check_name(path: str) -> Iterator[Finding]:
    """Findings in the path alone."""
    folders = path.split("/")
    name = folders.pop()
    kind = _KIND_OF_ENDING.get(name.rpartition(".")[2].lower()) if "." in name else None
    if kind is not None:
        yield Finding(path, 0, "ending", f"{kind}; only files on the list of allowed ones may be")
    if _DATA_SET_FILE.fullmatch(name) or any(_DATA_SET_FOLDER.fullmatch(folder) for folder in folders):
        yield Finding(path, 0, "data set", "named like a file of CheXpert or MIMIC-CXR; keep data sets outside")
    if not is_made_up(path):
        yield Finding(path, 0, "identifier", "its path holds an identifier of a data set; keep data sets outside")
    if _RUN_OUTPUT.match(path):
        yield Finding(path, 0, "run output", "runs leave reports of studies in their folder; keep it untracked")


def check_content(path: str, content: bytes) -> Iterator[Finding]:
    """Findings in the bytes, whatever the file is called: everything that isn't plain UTF-8 text."""
    is_text = _is_text(content)
    for offset, magic, kind in _MAGIC:
        if content.startswith(magic, offset) and (not is_text or magic in _ALWAYS_TELLING):
            yield Finding(path, 0, "content", f"it is {kind}, whatever it is called")
            return
    if not is_text:
        yield Finding(path, 0, "content", "it isn't UTF-8 text, so nobody can see what is in it; save text as UTF-8")


def _is_text(content: bytes) -> bool:
    if b"\0" in content:
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
