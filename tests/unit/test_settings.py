"""Settings of one's own: what is taken, what is refused, and in which words."""

import math
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, field, replace
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, NonNegativeFloat, PositiveInt, Strict

from orapo.errors import SettingError
from orapo.settings import Fraction, HttpAddress, VariableName, checked, read, settings


@settings
class Inner:
    number: PositiveInt
    share: Fraction = 0.5

    def __post_init__(self) -> None:
        if self.number > 10 and self.share > 0.5:
            raise SettingError(f"number is {self.number}; it must be at most 10 with share, {self.share:g}")


@settings
class Outer:
    inner: Inner
    word: Literal["one", "two"] = "one"
    other: Inner | None = None
    flag: bool = False
    pair: Annotated[tuple[NonNegativeFloat, NonNegativeFloat], Strict(False)] | None = None
    either: Inner | Literal["none"] = "none"
    variable: VariableName | None = None
    address: HttpAddress | None = None
    free: dict[str, Any] = field(default_factory=dict)


def test_settings_are_frozen_dataclasses() -> None:
    inner = Inner(3, 1)
    assert (inner.number, inner.share, type(inner.share)) == (3, 1.0, float)
    assert asdict(replace(inner, number=4)) == {"number": 4, "share": 1.0}
    assert pickle.loads(pickle.dumps(inner)) == inner == Inner(number=3, share=1.0)
    assert len({inner, Inner(3, 1.0)}) == 1
    with pytest.raises(FrozenInstanceError):
        inner.number = 5  # type: ignore[misc]
    with pytest.raises(SettingError, match=r"^number is 0; it must be a whole number, at least 1$"):
        replace(inner, number=0)


def test_a_section_reads_as_settings_with_its_own_sections() -> None:
    outer = read(Outer, {"inner": {"number": 1}, "other": Inner(2), "pair": [1, 2], "either": {"number": 3}})
    assert outer == Outer(Inner(1), other=Inner(2), pair=(1.0, 2.0), either=Inner(3))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"inner": {"number": True}}, "inner.number is True; it must be a whole number, at least 1"),
        ({"inner": {"number": 2.0}}, "inner.number is 2.0; it must be a whole number, at least 1"),
        ({"inner": {"number": 1, "share": math.nan}}, "inner.share is nan; it must be a number, at least 0 and"),
        ({"inner": {"number": 1, "share": "0.5"}}, "inner.share is '0.5'; it must be a number, at least 0 and"),
        ({"inner": {"number": 11, "share": 1}}, "inner.number is 11; it must be at most 10 with share, 1"),
        ({"inner": {"numbr": 1}}, "inner.numbr is not a setting (did you mean top.inner.number?); allowed: n"),
        ({"inner": {}}, "inner.number is missing; top.inner needs number"),
        ({"inner": 3}, "inner is 3; it must be a section with number, share"),
        ({"other": []}, "other is []; it must be a section with number, share, or null"),
        ({"word": "three"}, "word is 'three'; it must be one of one, two"),
        ({"flag": 1}, "flag is 1; it must be true or false"),
        ({"pair": [1, -2]}, "pair[1] is -2; it must be a list of 2, each a number, at least 0, or null"),
        ({"pair": [1]}, "pair is [1]; it must be a list of 2, each a number, at least 0, or null"),
        ({"either": "some"}, "either is 'some'; it must be a section with number, share or none"),
        ({"either": {"number": 0}}, "either.number is 0; it must be a whole number, at least 1"),
        ({"variable": "sk-123"}, "variable isn't the name of an environment variable; the key itself stays there"),
        (
            {"address": "http://me:sk-123@host"},
            "address holds a user, password or query; a key belongs in the environment, see api_key_variable",
        ),
        *(
            ({"address": address}, f"address is {address!r}, and there can be no such host or port")
            for address in (
                *("http://localhost:99999/v1", "http://localhost:80:80/v1", "http://a..b/v1", "http://256.1.1.1/v1"),
                *(f"http://{'a' * 64}.org/v1", "http://xn--a/v1", "http://a\u0378.org"),
            )
        ),
        ({"free": 1}, "free is 1; it must be a mapping"),
        ({"wrd": 1, "flag": 2}, "wrd is not a setting (did you mean top.word?); allowed: inner, word, other, flag, "),
    ],
)
def test_what_is_wrong_is_one_line_with_the_whole_key(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError) as caught:
        read(Outer, {"inner": {"number": 1}, **changed}, "top")
    assert str(caught.value).startswith(f"top.{told}")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None, "pydantic's own words may hold a key"


@pytest.mark.parametrize(
    "address", ["http://[::1]:80/v1", "https://bücher.example", "http://127.0.0.1", "http://a_b-c"]
)
def test_an_address(address: str) -> None:
    assert read(Outer, {"inner": {"number": 1}, "address": address}, "top").address == address


class Made:
    @checked
    def __init__(self, number: Annotated[int, Field(ge=2)], *, word: Literal["one", "two"] = "one") -> None:
        self.told = (number, word)


@checked
def made(number: PositiveInt, share: Fraction = 1) -> float:
    return number * share


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: Made(1), "number is 1; it must be a whole number, at least 2"),
        (lambda: Made(2, word="three"), "word is 'three'; it must be one of one, two"),
        (lambda: made(1, 2), "share is 2; it must be a number, at least 0 and at most 1"),
    ],
)
def test_arguments_are_checked_by_their_annotations(call: Callable[[], object], told: str) -> None:
    with pytest.raises(SettingError, match=rf"^{told}$"):
        call()
    assert Made(2, word="two").told == (2, "two")
    assert made(3, 0.5) == 1.5
