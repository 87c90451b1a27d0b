"""What is evaluated, and what it is set against: from the config to something that writes reports."""

from dataclasses import replace
from pathlib import Path

from orapo.errors import SettingError
from orapo.experiment.api_settings import ApiSettings
from orapo.experiment.evaluate_config import TINY, Evaluation
from orapo.experiment.written_reports import ReportFile, System
from orapo.policy.checkpoints import ADAPTER_CONFIG
from orapo.policy.tiny import base_folder

REPORT_FILES = ("reports.jsonl", "test_reports.jsonl")
"""Where the folder of an evaluation, or of a run, keeps reports."""


def open_system(evaluation: Evaluation) -> System:
    """Opens the system that the config says to evaluate."""
    if evaluation.kind == "reports":
        return ReportFile(Path(evaluation.config.reports), evaluation.config.missing_reports)
    if evaluation.kind == "api":
        # litellm's helpers are for those who ask a model.
        from orapo.experiment.api_policy import ApiPolicy

        return ApiPolicy(ApiSettings.read(evaluation.config.system), evaluation.model.prompt)
    return _local(evaluation)


def open_other(name: str, evaluation: Evaluation) -> System:
    """The second system: a file of reports, the folder of an evaluation or run, or a checkpoint.

    Raises:
        SettingError: it is none of these.
    """
    path = Path(name)
    if path.is_file():
        return ReportFile(path)
    found = next((path / file for file in REPORT_FILES if (path / file).is_file()), None)
    if found is not None:
        return ReportFile(found)
    is_model = any((path / file).is_file() for file in ("config.json", ADAPTER_CONFIG))
    is_hub_name = not path.exists() and name.count("/") == 1 and not name.startswith((".", "/", "~"))
    if not (name == TINY or is_model or is_hub_name):
        raise SettingError(
            f"against={name} is no file of reports (.csv, .jsonl), no folder of an evaluation or run with "
            f"{' or '.join(REPORT_FILES)}, and no checkpoint"
        )
    settings = replace(evaluation.model, path=base_folder() if name == TINY else name)
    return _local(replace(evaluation, kind="checkpoint", name=name, model=settings, base=None))


def _local(evaluation: Evaluation) -> System:
    # A file of reports or an API needs no Lightning.
    from orapo.experiment.local_policy import LocalPolicy

    return LocalPolicy(evaluation)
