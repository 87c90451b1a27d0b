"""Each kind of sentence that is easily read the wrong way round, by cue, list, observation and position (grids.py)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.labeler.grids import CODES, all_cells, is_judged_right, is_read_right, some_cells, templates

from orapo.labeler import Labeler
from orapo.reward import OfflineJudge

KINDS = list(dict.fromkeys(template.kind for template in templates()))
LABELER, JUDGE = Labeler(), OfflineJudge()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@pytest.mark.slow
def test_labeler_reads_any_cell_as_it_was_made(kind: str, data: st.DataObject) -> None:
    made = data.draw(some_cells(kind))
    assert is_read_right(made, LABELER), (made, LABELER.label(made.text).states)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@pytest.mark.slow
def test_judge_turns_no_cell_round(kind: str, data: st.DataObject) -> None:
    made = data.draw(some_cells(kind))
    assert is_judged_right(made, JUDGE), made


@pytest.mark.slow
def test_cells_are_many_whole_and_of_every_observation() -> None:
    cells = list(all_cells())
    assert len({made.text for made in cells}) == len(cells)
    assert not any(set("{}_") & set(made.text) for made in cells)
    assert min(Counter(made.kind for made in cells).values()) >= 200
    assert {observation for made in cells for observation, _ in made.stated} == set(CODES.values()) - {CODES["NF"]}
