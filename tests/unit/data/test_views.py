import pytest

from orapo.data.views import check_views, is_frontal
from orapo.errors import SettingError


@pytest.mark.parametrize("view", ["PA", "AP", "AP AXIAL", "PA LLD", "FRONTAL"])
def test_frontal_views(view):
    assert is_frontal(view)
    assert is_frontal(view, blank=False)


@pytest.mark.parametrize("view", ["LATERAL", "LL", "L", "PALM", "pa", "LAO"])
def test_other_views(view):
    assert not is_frontal(view)


def test_an_unknown_view_counts_where_asked():
    assert is_frontal("")
    assert not is_frontal("", blank=False)


def test_the_setting_is_checked():
    check_views("all")
    check_views("frontal")
    with pytest.raises(SettingError, match=r"^views is 'PA'; it must be 'frontal' or 'all'$"):
        check_views("PA")
