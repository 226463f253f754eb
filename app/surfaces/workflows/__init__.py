"""Workflows as both doors offer them: check, run, repeat, look at, save."""

from app.surfaces.workflows.operations import Workflows
from app.surfaces.workflows.payloads import Answer, Checked, Fork, Named, Replay, Run, Save
from app.surfaces.workflows.views import (
    CheckOut,
    PriceOut,
    QuestionOut,
    QuestionsOut,
    SavedOut,
    SavedPage,
    StepsOut,
    WorkflowOut,
)

__all__ = [
    "Answer",
    "CheckOut",
    "Checked",
    "Fork",
    "Named",
    "PriceOut",
    "QuestionOut",
    "QuestionsOut",
    "Replay",
    "Run",
    "Save",
    "SavedOut",
    "SavedPage",
    "StepsOut",
    "WorkflowOut",
    "Workflows",
]
