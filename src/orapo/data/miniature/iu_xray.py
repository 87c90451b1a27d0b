"""A miniature of IU X-Ray in either of its layouts."""

from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from orapo.data.miniature.studies import MadeUpStudy
from orapo.data.miniature.writing import begin, write_images, write_table, write_texts
from orapo.settings import checked

Layout = Literal["tables", "xml"]
_REPORT_COLUMNS = ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression")


@checked
def write_miniature_iu_xray(
    folder: str | Path, num_patients: int = 60, seed: int = 0, *, layout: Layout = "tables"
) -> Path:
    """Writes reports and images as ``"tables"`` (indiana_reports.csv ...) or ``"xml"`` (ecgen-radiology/ ...).

    Gives the folder; arguments and errors as of ``begin``.
    """
    root, studies = begin(folder, num_patients, seed)
    images = "images/images_normalized" if layout == "tables" else "NLMCXR_png"
    write_images(root / images, studies, lambda study: [f"{name}.png" for name in _names(study)])
    if layout == "xml":
        write_texts(root / "ecgen-radiology", {f"{study.serial}.xml": _xml(study) for study in studies})
        return root
    reports = (
        (s.serial, "made up", "made up", "Xray Chest", "Made up for XXXX.", "None.", s.findings, s.impression)
        for s in studies
    )
    write_table(root / "indiana_reports.csv", _REPORT_COLUMNS, reports)
    rows = ((s.serial, f"{name}.png", side) for s in studies for name, side in zip(_names(s), s.sides, strict=True))
    write_table(root / "indiana_projections.csv", ("uid", "filename", "projection"), rows)
    return root


def _names(study: MadeUpStudy) -> list[str]:
    return [f"CXR{study.serial}_IM-0001-{number}001" for number in range(1, len(study.views) + 1)]


def _xml(study: MadeUpStudy) -> str:
    texts = {
        "COMPARISON": "None.",
        "INDICATION": "Made up for XXXX.",
        "FINDINGS": study.findings,
        "IMPRESSION": study.impression,
    }
    abstract = "".join(f"<AbstractText Label={quoteattr(name)}>{escape(t)}</AbstractText>" for name, t in texts.items())
    images = "".join(f"<parentImage id={quoteattr(name)}/>" for name in _names(study))
    return f"<eCitation><MedlineCitation><Abstract>{abstract}</Abstract></MedlineCitation>{images}</eCitation>\n"
