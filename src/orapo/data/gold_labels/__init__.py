"""Radiologists' labels of CheXpert's validation and test studies, and these studies as a source for testing."""

from orapo.data.gold_labels.check import check_gold
from orapo.data.gold_labels.source import GoldSource
from orapo.data.gold_labels.table import GoldLabels, read_gold_labels

__all__ = ["GoldLabels", "GoldSource", "check_gold", "read_gold_labels"]
