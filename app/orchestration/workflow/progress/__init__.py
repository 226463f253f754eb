"""How far a run has come: its graph, its steps and what they gave."""

from app.orchestration.workflow.progress.service import Progress, StepPage
from app.orchestration.workflow.progress.views import NodeView, StepView

__all__ = ["NodeView", "Progress", "StepPage", "StepView"]
