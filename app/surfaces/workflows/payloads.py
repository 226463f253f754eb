"""Requests about workflows; HTTP sends them as bodies, MCP as arguments."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from app.kernel.errors import AppError, Code
from app.surfaces.payloads import Payload
from app.surfaces.terms import LimitKey, Priority, RunAt, Terms, Webhook

WorkflowName = Annotated[str, Field(min_length=1, max_length=64)]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
_MOST_NAME = 64


def _definition_or_name(raw: Any) -> Any:
    """A definition that was sent as the body itself is the likeliest mistake: say it plainly."""
    is_name = isinstance(raw, str) and 1 <= len(raw) <= _MOST_NAME
    if raw is None or is_name or isinstance(raw, dict):
        return raw
    raise AppError(
        Code.INVALID_INPUT,
        "/workflow: this must be a workflow definition (an object), or the name of a saved one.",
        hint='A definition goes into the field `workflow`: {"workflow": {"workflow": 1, "nodes":'
        ' ...}, "input": ...}.',
        details={"pointer": "/workflow"},
    )


Workflow = Annotated[
    dict[str, Any] | WorkflowName,
    BeforeValidator(_definition_or_name),
    Field(description="A workflow definition, or the name of a saved one."),
]
_Accept = Annotated[
    bool,
    Field(description="Run with the tools and templates as they are now, if some have changed."),
]
Billing = Annotated[
    Literal["outcome", "usage"],
    Field(
        description="`outcome`: a run that fails costs nothing. `usage`: every step that succeeds"
        " is paid, however the run ends."
    ),
]


class Named(Payload):
    """A definition, or a saved one by name and perhaps version (else the newest)."""

    workflow: Workflow
    version: Version | None = None

    @model_validator(mode="after")
    def _version_of_a_name(self) -> "Named":
        if self.version is not None and not isinstance(self.workflow, str):
            raise AppError(
                Code.INVALID_INPUT,
                "Only a saved workflow has versions.",
                hint="Leave `version` out, or name a saved workflow.",
                details={"pointer": "/version"},
            )
        return self


class Checked(Named):
    """What to check; with an `input`, that too."""

    input: Annotated[Any, Field(description="The workflow's input, any JSON.")] = None

    @property
    def has_input(self) -> bool:
        """Whether an input was given, be it null."""
        return "input" in self.model_fields_set


class Run(Checked):
    """What to run."""

    billing: Billing = "outcome"
    priority: Priority = 0
    run_at: RunAt = None
    limit_key: LimitKey = None
    webhook: Webhook = None

    def terms(self, key: str | None) -> Terms:
        """How the run is queued."""
        return Terms(key, self.priority, self.run_at, self.limit_key, self.webhook)


class Replay(Payload):
    """From where a run that has ended is repeated."""

    from_step: Annotated[
        str,
        Field(
            min_length=1,
            max_length=500,
            description="A step's path: `design`, `align[3]` or `align[3].score`. It and everything"
            " after it is done again.",
        ),
    ]
    accept_changes: _Accept = False


class Fork(Payload):
    """What is different in the new run; what is left out is as it was."""

    workflow: Workflow | None = None
    version: Version | None = None
    input: Any = None
    billing: Billing | None = None
    accept_changes: _Accept = False

    @model_validator(mode="after")
    def _changes_something(self) -> "Fork":
        if not self.model_fields_set & {"workflow", "input"}:
            raise AppError(
                Code.INVALID_INPUT,
                "A fork changes the input, the workflow, or both.",
                hint="Give `input` or `workflow`; to repeat a run as it was, replay it.",
                details={"pointer": ""},
            )
        if self.version is not None and not isinstance(self.workflow, str):
            raise AppError(
                Code.INVALID_INPUT,
                "Only a saved workflow has versions.",
                hint="Name the saved workflow in `workflow`, or leave `version` out.",
                details={"pointer": "/version"},
            )
        return self


class Answer(Payload):
    """An answer to a question."""

    step: Annotated[
        str,
        Field(
            min_length=1,
            max_length=500,
            validation_alias=AliasChoices("step", "path"),
            description="The path of the step that asks.",
        ),
    ]
    answer: Annotated[Any, Field(description="What the question's form wants.")]


class Save(Payload):
    """A definition to be saved as the next version."""

    definition: Annotated[dict[str, Any], Field(description="A workflow definition.")]

    @model_validator(mode="before")
    @classmethod
    def _is_wrapped(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "nodes" in raw and "definition" not in raw:
            raise AppError(
                Code.INVALID_INPUT,
                "/definition: the definition is missing.",
                hint='It goes into the field `definition`: {"definition": {"workflow": 1, "nodes":'
                " ...}}.",
                details={"pointer": "/definition"},
            )
        return raw

    base_version: Annotated[
        int | None,
        Field(
            ge=0,
            description="The version this was made from: refused if there is a newer one. 0: the"
            " name must be new.",
        ),
    ] = None
