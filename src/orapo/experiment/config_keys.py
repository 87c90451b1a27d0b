"""Keys that a command line gets wrong: the field's other words, misspellings, and keys that have moved."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from orapo.credentials import refuse_key, refuse_keys
from orapo.errors import SettingError
from orapo.experiment.config_help import CONF, group_options
from orapo.experiment.config_tree import OF_TRAINING

WORDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("k", "g", "n", "group_size", "num_generations", "num_rollouts", "num_samples", "rollouts_per_prompt"): (
        "rollout.per_study",
        "num_reports",
    ),
    ("lr", "rate", "actor_lr"): ("training.learning_rate",),
    ("beta",): ("objective.policy_loss.kl_coef", "objective.oracle_loss.dpo_beta", "reward.f_beta"),
    ("kl", "kl_beta", "beta_kl", "kl_weight", "kl_coeff", "init_kl_coef"): ("objective.policy_loss.kl_coef",),
    ("epsilon", "eps", "clip", "cliprange", "clip_range", "clip_eps", "clip_ratio", "epsilon_low", "epsilon_high"): (
        "objective.policy_loss.clip_low",
        "objective.policy_loss.clip_high",
    ),
    ("w", "weight", "lambda", "dpo_weight"): ("objective.w_min", "objective.w_max"),
    ("b", "bs", "train_batch_size", "global_batch_size", "rollout_batch_size"): (
        "training.batch_size",
        "eval_batch_size",
    ),
    ("micro_batch_size", "per_device_train_batch_size", "gradient_accumulation_steps"): (
        "training.studies_per_micro_batch",
    ),
    ("epochs", "num_epochs", "num_train_epochs", "max_epochs", "passes"): ("training.num_passes",),
    ("steps", "max_steps", "num_train_steps", "total_steps"): ("training.num_steps",),
    ("mu", "num_iterations", "ppo_epochs", "inner_epochs"): ("training.inner_steps",),
    ("warmup",): ("training.warmup_steps",),
    ("wd",): ("training.weight_decay",),
    ("grad_clip", "max_norm", "clip_grad_norm"): ("training.max_grad_norm",),
    ("temp",): ("rollout.temperature", "temperature"),
    ("max_tokens", "max_length", "max_completion_length", "response_length"): (
        "rollout.max_new_tokens",
        "max_new_tokens",
    ),
    ("budget", "max_train_samples"): ("data.subset.num_studies",),
    ("r", "lora_r", "lora_rank"): ("model.lora.rank",),
    ("lora_alpha",): ("model.lora.alpha",),
    ("peft_config", "use_lora", "use_peft"): ("model.lora",),
    ("reward_funcs", "reward_weights"): ("reward.terms",),
    ("loss_type",): ("objective.policy_loss",),
}
"""The field's words for a setting, in lower case, and what it is called here; those that a command has are told."""

CLOSED = ("", "rollout", "training", "objective")
"""Sections, and the top of a config, whose keys are ours alone: what else stands there is a mistake."""

MOVED = {"data.source.sections": ("data.target", {"findings_and_impression": "both"})}
"""Keys that stand elsewhere today, and words that their values have there; accepted as they were."""

ADDED = ("+experiment=", "+sweep=", "+row=")

_NO_NAME = re.compile(r"[+-]?[\d.]+(?:e[+-]?\d+)?|true|false|nan|[+-]?inf|\[.*", re.IGNORECASE | re.DOTALL)
"""Values of a group that Hydra stops at, or composes to a config without it or with parts of several."""
_REFUSED = re.compile(
    r"Could not (?:override|delete) '([^']+)'|Could not delete from config\. '([^']+)' does not exist"
)
_NO_CHOICE = re.compile(r"Could not find '([^'\n]+)/([^/'\n]+)'\s+Available options in '[^']+':\n((?:\t\S+\n?)+)")


def nearest(key: str, known: Iterable[str]) -> list[str]:
    """Which of the ``known`` keys, with dots, are meant by ``key``; the likeliest first, none where nothing is near."""
    known = list(known)
    section, _, leaf = key.rpartition(".")
    for words, meant in WORDS.items():
        if leaf.lower() in words and (found := [name for name in meant if name in known]):
            return [name for name in found if section and name.startswith(f"{section}.")] or found
    elsewhere = [name for name in known if name.rpartition(".")[2] == leaf]
    return elsewhere or difflib.get_close_matches(key, known, n=1, cutoff=0.75) or _with_near_leaf(key, known)


def _with_near_leaf(key: str, known: Sequence[str]) -> list[str]:
    section, _, leaf = key.rpartition(".")
    within = f"{section}." if section else ""
    leaves = {name.rpartition(".")[2]: name for name in reversed(known) if name.startswith(within)}
    cutoff = 0.6 if section else 0.75
    return [leaves[near] for near in difflib.get_close_matches(leaf, leaves, n=1, cutoff=cutoff)]


def check_words(config: DictConfig) -> None:
    """Refuses the field's other words for a setting where a config adds them, by ``+key=`` or in a file; and keys.

    Raises:
        SettingError: names the key, and what it is called here.
    """
    refuse_keys_within(config)
    paths = _paths(config)
    for path in paths:
        section, _, leaf = path.rpartition(".")
        if section in CLOSED and any(leaf.lower() in words for words in WORDS):
            raise SettingError(_not_a_setting(path, paths))


def refuse_keys_within(content: Any, path: str = "") -> None:
    """Refuses keys and passwords in a config, which a run keeps; raises SettingError naming the setting."""
    content = OmegaConf.to_container(content, resolve=False) if OmegaConf.is_config(content) else content
    if isinstance(content, str):
        refuse_key(path, content)
    elif isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            refuse_keys_within(value, f"{path}.{key}" if path else str(key))


def in_order(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``+experiment`` before ``+sweep`` before ``+row``, however they were typed.

    The later one wins where two of them set the same key. Keys that have moved take their place of today.
    """
    arguments = [_today(argument) for argument in arguments]
    ranks = {argument: rank for argument in arguments for rank, a in enumerate(ADDED) if argument.startswith(a)}
    added = iter(sorted((argument for argument in arguments if argument in ranks), key=lambda added: ranks[added]))
    return [next(added) if argument in ranks else argument for argument in arguments]


def _today(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if key.startswith("first."):
        # The first stage names what differs in it and nothing else: Hydra takes the other keys for new ones.
        key = f"++{key}"
    name, words = MOVED.get(key, (key, {}))
    for old, new in words.items():
        value = re.sub(rf"\b{old}\b", new, value)
    return f"{name}{equals}{value}"


def check_values(arguments: Sequence[str]) -> None:
    """Refuses a key without a value, as an unset variable of the shell leaves it: as a path it would mean this folder.

    Refuses passwords, too, before they stand in a file: a run keeps its command line.

    Raises:
        SettingError: names the key; no password.
    """
    refuse_keys(arguments)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and not value.strip().strip("'\"").strip():
            raise SettingError(f"{argument} has no value; give one or leave the key out ({key}=null is none)")


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuses, before Hydra reads them, names that have moved, more than one experiment in a run, and a pickle.

    Raises:
        SettingError: says what takes the argument's place.
    """
    models = group_options("model")
    for argument in arguments:
        if argument.startswith("--e"):  # argparse takes a part of --experimental-rerun for it
            raise SettingError("--experimental-rerun reads a pickle, which can run anything; give the overrides again")
        key, equals, value = argument.lstrip("+~").partition("=")
        if not equals:
            continue
        if key.partition(".")[0] == "policy":
            raise SettingError(f"{argument}: who writes the reports is now system{key.removeprefix('policy')}={value}")
        if (key == "training" and not value.startswith("{")) or (key == "rollout" and value in models):
            raise SettingError(f"{argument}: these settings come with model={value if value in models else 'NAME'}")
        if key == "experiment" and value.startswith("["):
            raise SettingError(f"{argument}: a run has one experiment; sweep them with -m +experiment=A,B")
        if key and (CONF / key).is_dir() and _NO_NAME.fullmatch(value.strip()):
            raise SettingError(f"{argument} is no choice; allowed: {', '.join(group_options(key))}")


def explained(error: BaseException, arguments: Sequence[str], config_name: str) -> str | None:
    """What Hydra means by refusing a key, as one line with the keys that may be meant; None for other errors.

    Args:
        error: of Hydra.
        arguments: of the command line; its choices of groups decide which keys there are.
        config_name: of the file where composing begins.
    """
    if (choice := _NO_CHOICE.search(str(error))) is not None:
        group, name, options = choice[1], choice[2], choice[3].split()
        near = difflib.get_close_matches(name, options, n=1)
        hint = f" (did you mean {group}={near[0]}?)" if near else ""
        return f"{group}={name} is no choice{hint}; allowed: {', '.join(options)}"
    refused = _REFUSED.search(str(error))
    if refused is None:
        return None
    key = str(refused[1] or refused[2])
    config = _composed(arguments, config_name, with_hydra=key.startswith("hydra"))
    if (section := _section_to_fill(key, config)) is not None:
        argument = next((a for a in arguments if a.startswith(f"{key}=")), f"{key}=VALUE")
        return f"what stands in {section} is yours to add, with a plus: '+{argument}'"
    keys = [path for path in _paths(config) if config_name == "config" or path.split(".")[0] not in OF_TRAINING]
    if (first := next((path for path in keys if path.startswith(f"{key}.")), None)) is not None:
        return f"{key} is a section; set its keys one by one, as {first}=VALUE"
    return _not_a_setting(key, keys)


def _not_a_setting(key: str, known: Iterable[str]) -> str:
    near = nearest(key, known)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return f"{key} is not a setting{hint}; every key stands with a comment in conf/"


def _section_to_fill(key: str, config: DictConfig) -> str | None:
    """The empty section that ``key`` is or stands in: whatever a user calls the keys there, Hydra knows none."""
    content: Any = OmegaConf.to_container(config, resolve=False)
    parts = key.split(".")
    for number, part in enumerate(parts, start=1):
        content = content.get(part) if isinstance(content, dict) else None
        if content == {}:
            return ".".join(parts[:number])
    return None


def _composed(arguments: Sequence[str], config_name: str, *, with_hydra: bool) -> DictConfig:
    """The config by the choices of groups among the arguments; empty where none can be composed."""
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    choices = [a for a in arguments if a.partition("=")[0].lstrip("+").partition("/")[0] in groups and "," not in a]
    for overrides in (choices, []):
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
                return compose(config_name, overrides, return_hydra_config=with_hydra)
        except Exception:  # a choice may be what is wrong
            continue
    return OmegaConf.create({})


def _paths(config: DictConfig, prefix: str = "") -> list[str]:
    content: Any = OmegaConf.to_container(config, resolve=False) if OmegaConf.is_config(config) else config
    found = []
    for key, value in content.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += _paths(value, f"{prefix}{key}.")  # type: ignore[arg-type]
    return found
