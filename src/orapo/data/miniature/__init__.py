"""Small data sets of phantoms in the layout of the real ones, their traps included, for trials without credentials."""

from orapo.data.miniature.annotation import write_miniature_annotation
from orapo.data.miniature.chexpert_plus import write_miniature_chexpert_plus
from orapo.data.miniature.mimic_cxr import write_miniature_mimic_cxr

__all__ = ["write_miniature_annotation", "write_miniature_chexpert_plus", "write_miniature_mimic_cxr"]
