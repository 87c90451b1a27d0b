"""``orapo data miniature``: a small data set of phantoms in the layout of a real one."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path


def add_miniature_command(parser: ArgumentParser) -> None:
    """Declares ``miniature DATA_SET FOLDER`` and its options."""
    data_sets = parser.add_subparsers(dest="data_set", required=True, metavar="DATA_SET")
    plus = data_sets.add_parser("chexpert_plus", help="CheXpert Plus, with CheXpert's gold labels")
    mimic = data_sets.add_parser("mimic_cxr", help="MIMIC-CXR-JPG with reports")
    mimic.add_argument("--version", default="2.1.0", help="of MIMIC-CXR-JPG: 2.0.0 or %(default)s, the default")
    mimic.add_argument("--zip-reports", action="store_true", help="reports in mimic-cxr-reports.zip, not as files")
    annotation = data_sets.add_parser("annotation", help="a data set with an R2Gen-style annotation.json")
    annotation.add_argument("--form", choices=("mimic_cxr", "chexpert_plus"), default="mimic_cxr")
    for options, write in ((plus, _chexpert_plus), (mimic, _mimic_cxr), (annotation, _annotation)):
        options.add_argument("folder", help="empty, or not there yet")
        options.add_argument("--num-patients", type=int, default=60, help="at least 10; default: %(default)s")
        options.add_argument("--seed", type=int, default=0, help="of the phantoms; default: %(default)s")
        options.set_defaults(run=_writer(write))


def _writer(write: Callable[[Namespace], Path]) -> Callable[[Namespace], int]:
    def run(arguments: Namespace) -> int:
        print(f"wrote {write(arguments)}")
        return 0

    return run


# Each is imported once it is asked for: numpy would hold up --help.
def _chexpert_plus(arguments: Namespace) -> Path:
    from orapo.data.miniature import write_miniature_chexpert_plus

    write_miniature_chexpert_plus(arguments.folder, arguments.num_patients, arguments.seed)
    return Path(arguments.folder)


def _mimic_cxr(arguments: Namespace) -> Path:
    from orapo.data.miniature import write_miniature_mimic_cxr

    write_miniature_mimic_cxr(
        arguments.folder,
        arguments.num_patients,
        arguments.seed,
        version=arguments.version,
        zip_reports=arguments.zip_reports,
    )
    return Path(arguments.folder)


def _annotation(arguments: Namespace) -> Path:
    from orapo.data.miniature import write_miniature_annotation

    return write_miniature_annotation(arguments.folder, arguments.num_patients, arguments.seed, form=arguments.form)
