"""README and docs: commands that exist, errors that the code has, keys that compose, a README of one sitting."""

import re
import shlex
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orapo.__main__ import COMMANDS
from orapo.experiment import compare_command, watch_command
from orapo.experiment.command_line import run_folder
from orapo.experiment.config_keys import check_arguments, in_order
from orapo.experiment.evaluate_command import with_overrides_for_flags
from orapo.experiment.generate_command import with_paths_quoted

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
CONFIGS = {"train": "config", "evaluate": "evaluate", "generate": "generate"}
PARSERS = {"compare": compare_command._parser, "watch": watch_command._parser}
CONF = ROOT / "conf"


def commands() -> list[tuple[str, str]]:
    """Page and command, of every indented or fenced line, continued lines joined; comments and what follows "&&" go."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ {4,}(?:[A-Z_]+=\S+ )*(orapo .*)$", text, re.MULTILINE):
            found.append((page.name, re.split(r"\s#\s|\s&&|\s\|", line)[0].strip()))
    return found


COMMANDS_SHOWN = commands()


def test_there_are_commands() -> None:
    assert len(COMMANDS_SHOWN) > 80
    assert {command.split()[1] for _, command in COMMANDS_SHOWN} >= set(COMMANDS) - {"doctor"}


@pytest.mark.slow
@pytest.mark.parametrize(("page", "command"), sorted(set(COMMANDS_SHOWN)))
def test_a_command_is_read_by_its_own_command_line(page: str, command: str) -> None:
    name, *arguments = shlex.split(command)[1:]
    assert name in COMMANDS, f"{page}: there is no orapo {name}"
    if name in PARSERS:
        parser: ArgumentParser = PARSERS[name]()
        parser.parse_args([argument for argument in arguments if argument != "..."])
    if name not in CONFIGS or {"--help", "-h"} & set(arguments):
        return
    if name == "generate":
        arguments = with_paths_quoted(arguments)
    arguments = [each for each in with_overrides_for_flags(arguments) if each not in ("-m", "...")]
    config = composed(CONFIGS[name], arguments)
    assert isinstance(config, DictConfig)


def composed(name: str, arguments: list[str]) -> DictConfig:
    """With the first value of what is swept; a search has none. Ray has an environment of its own."""
    parsed = OverridesParser.create().parse_overrides(
        [each for each in arguments if "=" in each and "=ray" not in each]
    )
    first = []
    for override in parsed:
        if override.is_choice_sweep():
            value = next(override.sweep_string_iterator())
            first.append(f"{override.input_line.partition('=')[0]}={value}")
        elif not override.is_sweep_override():
            first.append(str(override.input_line))
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    check_arguments(first)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            return compose(name, in_order(first))
        except (HydraException, OmegaConfBaseException) as error:
            raise AssertionError(f"{' '.join(arguments)}: {error}") from error


def test_a_command_that_is_wrong_is_found() -> None:
    with pytest.raises(AssertionError):
        composed("config", ["training.learning_speed=1"])


def first_column(page: str) -> list[list[str]]:
    """What stands in backticks in the first cell of each row of a page's tables."""
    rows = re.findall(r"^\| (.*?) \|", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)
    return [found for row in rows if (found := re.findall(r"`([^`]+)`", row))]


def test_every_error_of_the_page_is_in_the_code() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/orapo").rglob("*.py"))
    # Messages are written in parts, one after the other.
    joined = re.sub(r'"\s*\n?\s*f?"', "", source)
    phrases = [phrase for row in first_column("errors.md") for phrase in row]
    assert len(phrases) > 15
    assert [phrase for phrase in phrases if phrase not in joined] == []


def test_keys_of_the_other_frameworks_lead_to_keys_of_ours() -> None:
    config: Any = composed("config", ["model=qwen2_5_vl_3b"])
    table = (ROOT / "docs" / "coming_from.md").read_text(encoding="utf-8")
    cells = [line.split(" | ")[2] for line in table.splitlines() if line.startswith("| `")]
    keys = [key for cell in cells for key in re.findall(r"`([\w.]+)`", cell) if "." in key]
    assert len(keys) > 12
    missing = object()
    assert [key for key in keys if OmegaConf.select(config, key, default=missing) is missing] == []


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 700


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
