"""The base policies that ship with the package: they know only drawings and sums."""

from orapo.policy import arithmetic, followup, rich, sighted, sighted_narrow, sighted_wide, tiny

EMBEDDED = {
    tiny.base_folder(): "tiny",
    sighted.base_folder(): "sighted",
    sighted_narrow.base_folder(): "sighted_narrow",
    sighted_wide.base_folder(): "sighted_wide",
    followup.base_folder(): "followup",
    rich.base_folder(): "rich",
    arithmetic.base_folder(): "arithmetic",
}
"""Their folders, and the name of each in conf/model."""
