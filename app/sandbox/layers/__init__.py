"""Layers: packages that a task asks for and the sandbox lacks, built once and mounted read-only."""

from app.sandbox.layers.missing import check_installed
from app.sandbox.layers.requirements import read_requirements
from app.sandbox.layers.service import Layers, Prepared
from app.sandbox.layers.sizes import LayerLimits
from app.sandbox.layers.sources import Sources, open_sources

__all__ = [
    "LayerLimits",
    "Layers",
    "Prepared",
    "Sources",
    "check_installed",
    "open_sources",
    "read_requirements",
]
