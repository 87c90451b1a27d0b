"""What ``orapo doctor`` says of what a user brings: keys, never their values; data sets; optional packages."""

import netrc
import os
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import requires

from orapo.errors import OrapoError
from orapo.experiment.command_line import compose_config
from orapo.experiment.config_help import CONF, group_options
from orapo.experiment.doctor_command import NOTE, OK, Finding, missing_or_other
from orapo.experiment.targets import build

EXTRAS = {
    "dicom": "DICOM images",
    "sweeps": "searches, and several jobs of a sweep at once",
    "postgres": "searches whose trials stand in PostgreSQL",
}
"""The package's extras for users, and what each is for."""

_ROOT = re.compile(r"^root: \$\{oc\.env:(\w+),null\}", re.MULTILINE)
_KEY = re.compile(r"\w+_API_KEY")


def check_keys() -> Iterator[Finding]:
    """Which API keys are set, by name."""
    present = {name for name, value in os.environ.items() if value.strip()}
    if "WANDB_API_KEY" in present or _netrc_has("wandb"):
        yield Finding(OK, "W&B", "a key is here: logger=wandb")
    else:
        yield Finding(NOTE, "W&B", "no key (WANDB_API_KEY, wandb login): logger=wandb writes runs offline")
    keys = sorted(name for name in present if _KEY.fullmatch(name) and name != "WANDB_API_KEY")
    if keys:
        yield Finding(OK, "judge", f"keys are here: {', '.join(keys)}")
    else:
        told = "no provider's key (OPENAI_API_KEY ...): reward=fact_score_llm needs one, or reward.api_base=SERVER"
        yield Finding(NOTE, "judge", told)
    from huggingface_hub import get_token

    if get_token():
        yield Finding(OK, "hub token", "it is here")
    else:
        yield Finding(NOTE, "hub token", "none (HF_TOKEN, hf auth login): models behind terms of use can't be fetched")


def _netrc_has(part: str) -> bool:
    try:
        return any(part in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def check_data() -> Iterator[Finding]:
    """Each data set whose folder an environment variable names, opened as a run would: its tables are read."""
    for name in group_options("data"):
        found = _ROOT.search((CONF / "data" / f"{name}.yaml").read_text(encoding="utf-8"))
        if found is None:
            continue
        variable = found[1]
        if not os.environ.get(variable):
            yield Finding(NOTE, "data", f"{name}: {variable} is not set; orapo data check says what it needs")
            continue
        try:
            build(compose_config([f"data={name}"]).data.source, "data.source")
        except Exception as error:
            # Another's words may be a report's.
            told = str(error) if isinstance(error, OrapoError) else type(error.__cause__ or error).__name__
            yield Finding(NOTE, "data", f"{name}: {variable} is set, but no run can read it: {told}")
        else:
            yield Finding(OK, "data", f"{name}: {variable} is set, and its tables are read")


def check_extras() -> Iterator[Finding]:
    """Optional packages, and the vLLM server."""
    for extra, use in EXTRAS.items():
        needed = [line for line in requires("orapo") or [] if f'extra == "{extra}"' in line]
        wrong = [told for line in needed if (told := missing_or_other(line))]
        if wrong:
            told = f"{wrong[0].partition(':')[0]}; {use} need pip install 'orapo[{extra}]'"
            yield Finding(NOTE, extra, told)
        else:
            yield Finding(OK, extra, use)
    if shutil.which("vllm"):
        yield Finding(OK, "vllm", "the server can be started here: vllm serve ...")
    else:
        yield Finding(NOTE, "vllm", "not here; rollout=vllm needs a server, which may run elsewhere (docs/vllm.md)")
