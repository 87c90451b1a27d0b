"""Every key in conf/ has a comment beside or above it, and a number's comment says its range."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

CONF = Path(__file__).parents[2] / "conf"
NOT_SETTINGS = ("_target_", "defaults")
SAME_KEY = re.compile(r"\$\{[\w.:]+\}")
"""A value that is another key's: its comment stands there. (What a sweep varies is told at the head of its file.)"""

RANGE = re.compile(r"at least|at most|above|below|>|\bin [\[(]|\bto \d|\bstays\b|\bor\b|\|")


@dataclass(frozen=True)
class Key:
    """A key with a plain value."""

    path: str
    value: yaml.Node
    comment: str


def keys_of(file: Path) -> Iterator[Key]:
    text = file.read_text(encoding="utf-8")
    root = yaml.compose(text)
    if root is not None:
        yield from _keys(root, text.splitlines(), "")


def _keys(node: yaml.Node, lines: list[str], prefix: str) -> Iterator[Key]:
    assert isinstance(node, yaml.MappingNode)
    for name, value in node.value:
        if name.value in NOT_SETTINGS:
            continue
        path = f"{prefix}{name.value}"
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _keys(value, lines, f"{path}.")
        else:
            yield Key(path, value, _comment(lines, name.start_mark.line))


def _comment(lines: list[str], line: int) -> str:
    beside = lines[line].partition(" #")[2]
    above = lines[line - 1].strip() if line else ""
    return beside or (above if above.startswith("#") else "")


def missing(file: Path) -> list[str]:
    found = []
    for key in keys_of(file):
        if SAME_KEY.fullmatch(str(key.value.value)) or (file.parent.name == "sweep" and key.path.startswith("hydra.")):
            continue
        if not key.comment:
            found.append(f"{key.path} has no comment")
        elif key.value.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and not RANGE.search(key.comment):
            found.append(f"{key.path}: its comment tells no range: {key.comment}")
    return found


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: str(file.relative_to(CONF)))
def test_every_key_has_a_comment_with_its_range(file: Path) -> None:
    assert not missing(file)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("rank: 32", "rank has no comment"),
        ("rank: 32  # of the adapter", "rank: its comment tells no range:  of the adapter"),
        ("lora: {rank: 32}", "lora.rank has no comment"),
        ("rank: 32  # at least 1", ""),
        ("# Its size, at least 1.\nrank: 32", ""),
        ("f_beta: ${reward.f_beta}", ""),
    ],
)
def test_a_key_without_one_is_found(line: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(line)
    assert missing(tmp_path / "one.yaml") == ([problem] if problem else [])
