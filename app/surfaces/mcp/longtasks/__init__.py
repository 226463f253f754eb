"""Calls that outlive their request: the Tasks extension (SEP-2663) over the table of jobs.

A task is a job: its id is the job's, its state is read from the job's row and its open questions.
Nothing is kept here, so any process answers, and a task outlives the stream that made it.
"""

from app.surfaces.mcp.longtasks.negotiation import IDENTIFIER, is_declared, untold
from app.surfaces.mcp.longtasks.outcomes import outcome
from app.surfaces.mcp.longtasks.service import LongTasks
from app.surfaces.mcp.longtasks.slow import is_slow, support_of

__all__ = ["IDENTIFIER", "LongTasks", "is_declared", "is_slow", "outcome", "support_of", "untold"]
