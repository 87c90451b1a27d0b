"""A whole model or a PEFT adapter on its base, to a policy that writes reports."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers.utils import find_adapter_config_file

from orapo.errors import CheckpointError
from orapo.policy.hub import is_hub_name, stay_offline_without_hub
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.settings import ModelSettings

ADAPTER_CONFIG = "adapter_config.json"


def load_checkpoint(settings: ModelSettings, base: str | None = None) -> Policy:
    """Loads ``settings.path``: a model's folder or hub name, or an adapter's.

    Args:
        settings: of the model; those of a base where the path is an adapter's.
        base: folder or hub name of an adapter's base, None where the adapter's own note of it is to be followed.

    Raises:
        CheckpointError: no model or adapter there, a base that can't be loaded or isn't the adapter's.
    """
    adapter = adapter_config(settings.path)
    if adapter is None:
        if base is not None:
            raise CheckpointError(
                f"base={base} is for a PEFT adapter, but {settings.path!r} has no {ADAPTER_CONFIG}; leave out base"
            )
        return load_policy(settings)
    named = base or adapter.get("base_model_name_or_path")
    if not named:
        raise CheckpointError(f"the adapter {settings.path!r} doesn't name its base; give it as base=FOLDER_OR_NAME")
    try:
        policy = load_policy(replace(settings, path=str(named), lora=None))
    except CheckpointError as error:
        raise CheckpointError(f"the base of the adapter {settings.path!r}: {error}; give it as base=FOLDER") from error
    return _with_adapter(policy, settings)


def adapter_config(path: str) -> dict[str, Any] | None:
    """What adapter_config.json says in a folder or hub repository; None where there is none.

    Raises:
        CheckpointError: the file can't be read.
    """
    if Path(path).is_dir():
        file = Path(path) / ADAPTER_CONFIG
        found = file if file.is_file() else None
    elif is_hub_name(path):
        stay_offline_without_hub()
        named = find_adapter_config_file(path)
        found = None if named is None else Path(named)
    else:
        return None
    if found is None:
        return None
    try:
        content: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{found} is not a readable adapter config: {_first_line(error)}") from error
    return content


def _with_adapter(policy: Policy, settings: ModelSettings) -> Policy:
    try:
        adapter = PeftModel.from_pretrained(policy.model, settings.path)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(f"the adapter {settings.path!r} doesn't fit its base: {_first_line(error)}") from error
    return Policy(policy.model, policy.processor, settings, adapter).train()


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
