"""Workflows as both doors offer them: check, run, repeat, look at, save."""

from app.surfaces.workflows.operations import Workflows
from app.surfaces.workflows.payloads import Checked, Fork, Named, Replay, Run, Save
from app.surfaces.workflows.views import (
    CheckOut,
    PriceOut,
    SavedOut,
    SavedPage,
    StepsOut,
    WorkflowOut,
)

__all__ = [
    "CheckOut",
    "Checked",
    "Fork",
    "Named",
    "PriceOut",
    "Replay",
    "Run",
    "Save",
    "SavedOut",
    "SavedPage",
    "StepsOut",
    "WorkflowOut",
    "Workflows",
]
