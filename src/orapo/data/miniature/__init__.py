"""Small data sets of phantoms in the layout of the real ones, their traps included, for trials without credentials."""

from orapo.data.miniature.annotation import write_miniature_annotation
from orapo.data.miniature.chexpert_plus import write_miniature_chexpert_plus
from orapo.data.miniature.hf_dataset import write_miniature_hf_dataset
from orapo.data.miniature.iu_xray import write_miniature_iu_xray
from orapo.data.miniature.mimic_cxr import write_miniature_mimic_cxr
from orapo.data.miniature.rexgradient import write_miniature_rexgradient, write_miniature_rexrank
from orapo.data.miniature.study_table import write_miniature_study_table

__all__ = [
    "write_miniature_annotation",
    "write_miniature_chexpert_plus",
    "write_miniature_hf_dataset",
    "write_miniature_iu_xray",
    "write_miniature_mimic_cxr",
    "write_miniature_rexgradient",
    "write_miniature_rexrank",
    "write_miniature_study_table",
]
