"""Studies of an annotation.json, the list of samples that many report generation papers share their data by."""

from orapo.data.annotations.check import check_annotation
from orapo.data.annotations.source import AnnotationSource

__all__ = ["AnnotationSource", "check_annotation"]
