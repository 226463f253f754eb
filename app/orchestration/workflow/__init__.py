"""The workflow definition: what it may say and what follows from it.

What is here is pure: no database, no clock, no randomness. `check` turns a submitted definition
into a plan, `Plans` a stored one; `advance` says what is next. `running` acts on it.
"""

from app.orchestration.workflow.definition import Definition, Retry
from app.orchestration.workflow.inputs import check_answer, check_input
from app.orchestration.workflow.plan import Plan
from app.orchestration.workflow.replay import (
    changed_fields,
    keep_unaffected_by,
    keep_upstream_of,
)
from app.orchestration.workflow.schema import definition_schema, schema_page
from app.orchestration.workflow.single import single_tool
from app.orchestration.workflow.stepping import advance
from app.orchestration.workflow.steps import (
    Advance,
    ReadyStep,
    StepResult,
    WaitingStep,
    WorkflowEnd,
)
from app.orchestration.workflow.validation import Plans, check, read

__all__ = [
    "Advance",
    "Definition",
    "Plan",
    "Plans",
    "ReadyStep",
    "Retry",
    "StepResult",
    "WaitingStep",
    "WorkflowEnd",
    "advance",
    "changed_fields",
    "check",
    "check_answer",
    "check_input",
    "definition_schema",
    "keep_unaffected_by",
    "keep_upstream_of",
    "read",
    "schema_page",
    "single_tool",
]
