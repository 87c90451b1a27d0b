"""The case page: one HTML file with every test study, which opens without a server and without a connection."""

from orapo.comparison.cases import Cases
from orapo.comparison.page_template import as_data, fill, paragraph
from orapo.comparison.tables import counted

PRIVATE_SHOWN = (
    "Private: this page holds reports, images and ids of patients' studies. Keep it where the data set may be kept."
)
PRIVATE_HIDDEN = (
    "Of private studies: reports, images and ids are left out. --show-private (compare) or show_private=true "
    "(evaluate) shows them."
)
NOT_PRIVATE = "No patient stands behind these studies."


def case_page(cases: Cases) -> str:
    """The page."""
    content = cases.content()
    names = " and ".join(content["systems"][:2])
    title = f"{counted(len(content['cases']), 'case')}: {names}"
    notices = [PRIVATE_HIDDEN if not cases.shows_texts else PRIVATE_SHOWN if cases.is_private else NOT_PRIVATE]
    notices += [f"No images: {cases.no_images}."] if cases.no_images else []
    notice = "".join(paragraph(told, "warn" if cases.is_private else "note") for told in notices)
    return fill("case_page.html", title=title, notice=notice, data=as_data(content))
