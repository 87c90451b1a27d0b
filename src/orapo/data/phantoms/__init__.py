"""Phantom chest radiographs with templated reports: studies that anyone may have, made from a seed alone."""

from orapo.data.phantoms.source import PhantomSource

__all__ = ["PhantomSource"]
