"""Sections with ``_target_``: checked as their targets' annotations say, and called only to be built."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import pytest
from omegaconf import OmegaConf
from pydantic import PositiveInt

from orapo.errors import SettingError
from orapo.experiment import config_tree
from orapo.experiment.targets import build, check
from orapo.settings import settings

HERE = __name__


@pytest.fixture(autouse=True)
def this_file_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_tree, "_trusted", {*config_tree.trusted(), HERE})


class Kind(StrEnum):
    ONE = "one"


class Reader(Protocol):
    def read(self) -> str: ...


@settings
class Limits:
    number: PositiveInt


class Source:
    """A target of somebody's own, with what a config can't hold in its annotations."""

    made = 0

    def __init__(
        self,
        root: Path | None,
        sizes: tuple[int, ...] = (),
        *,
        kind: Kind = Kind.ONE,
        limits: Limits | None = None,
        reader: Reader | None = None,
    ) -> None:
        Source.made += 1
        self.given = (root, sizes, kind, limits, reader)


@dataclass
class Anything:
    content: dict[str, Any]

    def __init__(self, **content: Any) -> None:
        self.content = content


def section(**arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{HERE}.Source", "root": "folder", **arguments}


def test_a_section_is_built_with_what_stands_inside_it() -> None:
    limits = {"_target_": f"{HERE}.Limits", "number": 3}
    reader = {"_target_": f"{HERE}.Anything", "one": [{"_target_": f"{HERE}.Limits", "number": 4}]}
    config = OmegaConf.create(section(sizes=[1, 2], kind="one", limits=limits, reader=reader))
    assert build(config, "data.source").given == ("folder", [1, 2], "one", Limits(3), Anything(one=[Limits(4)]))


def test_checking_calls_nothing() -> None:
    before = Source.made
    check(section(), "data.source")
    assert Source.made == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"root": 3}, "data.source.root is 3; it must be "),
        ({"sizes": [1, "2"]}, "data.source.sizes[1] is '2'; it must be "),
        ({"kind": "two"}, "data.source.kind is 'two'; it must be "),
        ({"sizs": []}, "data.source.sizs is not a setting (did you mean data.source.sizes?); allowed: root, sizes, "),
        (
            {"limits": {"_target_": f"{HERE}.Limits", "number": 0}},
            "data.source.limits.number is 0; it must be a whole ",
        ),
        ({"limits": {"_target_": f"{HERE}.None_"}}, f"data.source.limits._target_ is '{HERE}.None_', which can't be"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: dict[str, Any], told: str) -> None:
    for use in (check, build):
        with pytest.raises(SettingError, match=rf"^{re.escape(told)}") as caught:
            use(section(**arguments), "data.source")
        assert "\n" not in str(caught.value)


def test_a_section_without_a_target_is_refused() -> None:
    with pytest.raises(SettingError, match=r"^reward is {'f_beta': 2}; it must be a section with _target_"):
        build({"f_beta": 2}, "reward")
