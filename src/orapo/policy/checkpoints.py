"""Loads a whole model, or a PEFT adapter on its base, as a policy that writes reports."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers.utils import find_adapter_config_file

from orapo.errors import CheckpointError, DataError
from orapo.foreign import read_json
from orapo.policy.hub import is_hub_name, stay_offline_without_hub
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.model_files import check_model_files, told_as_checkpoint_error
from orapo.policy.settings import ModelSettings

ADAPTER_CONFIG = "adapter_config.json"


def load_checkpoint(settings: ModelSettings, base: str | None = None) -> Policy:
    """Loads ``settings.path``: a model's folder or hub name, or an adapter's.

    Args:
        settings: of the model; those of a base where the path is an adapter's.
        base: folder or hub name of an adapter's base; None takes the one that the adapter names.

    Raises:
        CheckpointError: there is no model or adapter, or the base can't be loaded or isn't the adapter's.
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


def merge_adapter(settings: ModelSettings, base: str, folder: Path) -> None:
    """Merges an adapter into its base; the folder appears once it is complete.

    Args:
        settings: of the model, with the adapter's path.
        base: folder or hub name.
        folder: to be made.

    Raises:
        CheckpointError: see ``load_checkpoint``.
    """
    policy = load_checkpoint(settings, base)
    whole = Policy(policy.adapter.merge_and_unload(), policy.processor, replace(settings, lora=None))
    draft = folder.with_name(f"{folder.name}.draft")
    whole.save(str(draft))
    draft.replace(folder)


def adapter_config(path: str) -> dict[str, Any] | None:
    """The content of adapter_config.json in a folder or hub repository; None where there is none.

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
        content = read_json(found)
    except DataError as error:
        raise CheckpointError(f"{found} is not a readable adapter config: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{found} is not a readable adapter config: it holds no JSON object")
    return content


def _with_adapter(policy: Policy, settings: ModelSettings) -> Policy:
    if Path(settings.path).is_dir():
        check_model_files(settings.path, f"the adapter {settings.path!r} can't be loaded")
        if not (Path(settings.path) / "adapter_model.safetensors").is_file():
            raise CheckpointError(
                f"the adapter {settings.path!r} has no adapter_model.safetensors; a pickle is not read"
            )
    with told_as_checkpoint_error(f"the adapter {settings.path!r} doesn't fit its base"):
        adapter = PeftModel.from_pretrained(policy.model, settings.path)
    return Policy(policy.model, policy.processor, settings, adapter).train()
