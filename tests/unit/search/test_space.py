"""The space of a search: what a config may say, and what a drawn point means."""

import pytest

from orapo.errors import SettingError
from orapo.search.space import read_space


def test_each_kind_of_range() -> None:
    alpha, rate, steps, k, pair = read_space(
        {
            "objective.alpha": {"float": [0, 0.9]},
            "training.learning_rate": {"log": [1e-4, 1e-2]},
            "training.inner_steps": {"int": [1, 3]},
            "rollout.per_study": {"choices": [4, 8]},
            "objective.w_min,objective.w_max": {"choices": [[0.0, 0.1], [0.05, 0.15]]},
        }
    )
    assert alpha.settings(0.123456789) == {"objective.alpha": 0.123457}
    assert rate.settings(0.000123456789) == {"training.learning_rate": 0.000123457}
    assert rate.distribution().log  # type: ignore[attr-defined]
    assert not alpha.distribution().log  # type: ignore[attr-defined]
    assert steps.settings(3) == {"training.inner_steps": 3}
    assert k.settings(8) == {"rollout.per_study": 8}
    assert pair.settings("[0.05, 0.15]") == {"objective.w_min": 0.05, "objective.w_max": 0.15}
    assert pair.distribution().choices == ("[0.0, 0.1]", "[0.05, 0.15]")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "space is empty"),
        ({"a": {"real": [0, 1]}}, "space a: 'real' is no kind of range; allowed: float, log, int, choices"),
        ({"a": [0, 1]}, "space a is [0, 1]; it must be one of float"),
        ({"a": {"float": [1, 0]}}, "space a.lowest is 1; it must be below highest, 0"),
        ({"a": {"float": [0, 1, 2]}}, "float takes one key, the lowest and the highest"),
        ({"a": {"float": ["low", 1]}}, "space a.lowest is 'low'; it must be a number"),
        ({"a": {"log": [0, 1]}}, "greater than 0"),
        ({"a": {"int": [0, 1.5]}}, "whole number"),
        ({"a": {"choices": []}}, "has no choices"),
        ({"a": {"choices": [1, 2, 1]}}, "a choice stands there twice"),
        ({"a": {"choices": [[1, 2]]}}, "must be a number, a text, true, false or null"),
        ({"a,b": {"choices": [[1, 2], [3]]}}, "must be a list of 2 values, one a key"),
        ({"a,b": {"float": [0, 1]}}, "takes one key"),
        ({"a,b": {"choices": [[1, 2]]}, "b": {"float": [0, 1]}}, "b stands there twice"),
    ],
)
def test_a_bad_space_is_one_line(content: dict[str, object], told: str) -> None:
    with pytest.raises(SettingError) as raised:
        read_space(content)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
