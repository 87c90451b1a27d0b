import pytest

from orapo.data.views import is_frontal


@pytest.mark.parametrize("view", ["PA", "AP", "AP AXIAL", "PA LLD", "FRONTAL"])
def test_frontal_views(view):
    assert is_frontal(view)
    assert is_frontal(view, blank=False)


@pytest.mark.parametrize("view", ["LATERAL", "LL", "L", "PALM", "pa", "LAO"])
def test_other_views(view):
    assert not is_frontal(view)
