"""The shuffled-image control: nobody keeps their own image, and every derangement is as likely as any other."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orapo.data.shuffled import derangement
from orapo.errors import DataError


@given(num_studies=st.integers(2, 300), seed=st.integers(0, 2**32))
def test_shuffled_indices_are_a_derangement(num_studies: int, seed: int) -> None:
    indices = derangement(num_studies, seed)
    assert sorted(indices) == list(range(num_studies))
    assert all(index != study for study, index in enumerate(indices))


def test_shuffle_depends_on_the_seed_alone() -> None:
    assert derangement(50, 1) == derangement(50, 1)
    assert derangement(50, 1) != derangement(50, 2)


def test_all_nine_derangements_of_four_come_up_about_equally() -> None:
    counts = Counter(derangement(4, seed) for seed in range(1800))
    assert len(counts) == 9
    # 200 expected each, standard deviation 13.3: 4.5 of them either way.
    assert min(counts.values()) > 140
    assert max(counts.values()) < 260


@pytest.mark.parametrize("num_studies", [0, 1])
def test_too_few_studies_are_refused(num_studies: int) -> None:
    with pytest.raises(DataError, match="at least 2"):
        derangement(num_studies, 0)
