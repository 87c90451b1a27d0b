"""A miniature of IU X-Ray in either of its layouts."""

from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from orapo.data.miniature.studies import MadeUpStudy, make_studies
from orapo.data.miniature.writing import new_folder, write_image, write_table
from orapo.settings import checked

Layout = Literal["tables", "xml"]
_REPORT_COLUMNS = ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression")


@checked
def write_miniature_iu_xray(
    folder: str | Path, num_patients: int = 60, seed: int = 0, *, layout: Layout = "tables"
) -> Path:
    """Writes reports and images as ``"tables"`` (indiana_reports.csv ...) or ``"xml"`` (ecgen-radiology/ ...).

    Gives the folder; arguments and errors as of ``make_studies`` and ``new_folder``.
    """
    studies = make_studies(num_patients, seed)
    root = new_folder(folder)
    images = "images/images_normalized" if layout == "tables" else "NLMCXR_png"
    for study in studies:
        for name, image in zip(_names(study), study.images, strict=True):
            write_image(root / images / f"{name}.png", image)
        if layout == "xml":
            path = root / "ecgen-radiology" / f"{study.serial}.xml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(_xml(study), encoding="utf-8")
    if layout == "tables":
        reports = (
            (s.serial, "made up", "made up", "Xray Chest", "Made up for XXXX.", "None.", s.findings, s.impression)
            for s in studies
        )
        write_table(root / "indiana_reports.csv", _REPORT_COLUMNS, reports)
        rows = (
            (s.serial, f"{name}.png", "Lateral" if view == "LATERAL" else "Frontal")
            for s in studies
            for name, view in zip(_names(s), s.views, strict=True)
        )
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
