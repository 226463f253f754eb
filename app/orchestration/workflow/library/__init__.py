"""Saved definitions: the shelf that the visual builder writes to and reads from."""

from app.orchestration.workflow.library.service import Library
from app.orchestration.workflow.library.store import SavedWorkflow

__all__ = ["Library", "SavedWorkflow"]
