"""The workflow definition, version 1: what users and the visual builder write.

Its JSON Schema is published in `docs/reference/workflow.schema.json`; fields are only ever added.
Values marked as such may hold expressions (`values.py`).
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from app.orchestration.workflow import limits

NAME_PATTERN = "^[a-z][a-z0-9_]{0,63}$"
WORK_KINDS = ("tool", "agent", "sandbox")
KINDS = (*WORK_KINDS, "map", "branch", "wait")

_MOST_NODES: dict[str, Any] = {"maxProperties": limits.NODES}
_EXPRESSION = {"type": "string", "pattern": r"^\$\{\{[\s\S]*\}\}$"}


def is_expression(value: Any) -> bool:
    """Whether a value looks like one whole expression."""
    return isinstance(value, str) and value.startswith("${{") and value.endswith("}}")


def _or_expression(words: str, *kinds: type) -> AfterValidator:
    def check(value: Any) -> Any:
        if type(value) in kinds or is_expression(value):
            return value
        raise PydanticCustomError("value_kind", "Give {words}.", {"words": words})

    return AfterValidator(check)


def _any_of(*schemas: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [*schemas, _EXPRESSION]})


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Whole = Annotated[
    Any,
    _or_expression('one expression, such as "${{ input.x }}"'),
    WithJsonSchema(_EXPRESSION),
]
ObjectValue = Annotated[
    Any, _or_expression("an object or one expression", dict), _any_of({"type": "object"})
]
ListValue = Annotated[
    Any, _or_expression("a list or one expression", list), _any_of({"type": "array"})
]
Seconds = Annotated[float, Field(ge=0, le=limits.LONGEST_WAIT_S, allow_inf_nan=False)]
JsonSchema = dict[str, Any]


def _check_one(model: BaseModel, *names: str) -> None:
    given = [name for name in names if name in model.model_fields_set]
    if len(given) != 1 or getattr(model, given[0]) is None:
        raise PydanticCustomError(
            "exactly_one", "Give exactly one of {names}.", {"names": ", ".join(names)}
        )


class Strict(BaseModel):
    """JSON without coercion; an unknown field is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Retry(Strict):
    """When a failed step is tried again; `max_attempts` counts the first try too."""

    max_attempts: int = Field(default=3, ge=1, le=20)
    backoff_s: float = Field(default=1.0, ge=0, le=3600, allow_inf_nan=False)
    codes: list[str] = Field(
        default_factory=list,
        max_length=50,
        description="Error codes tried again; none means those that are retryable by nature.",
    )

    def delay_after(self, failures: int, code: str, *, is_retryable: bool) -> float | None:
        """Seconds until the next try after so many failures, without jitter; None for no more."""
        may = code in self.codes if self.codes else is_retryable
        if not may or failures >= self.max_attempts:
            return None
        return min(self.backoff_s * 2.0 ** max(0, failures - 1), 3600.0)


class Node(Strict):
    """What every node may have. `meta` is kept for editors and never read."""

    title: str | None = Field(default=None, max_length=200)
    after: list[Name] = Field(
        default_factory=list,
        max_length=limits.NODES,
        description="Nodes this one waits for, besides those its expressions name.",
    )
    meta: dict[str, Any] | None = None


class Fallible(Node):
    """A node that can fail; with `continue` the workflow goes on and sees the failure."""

    on_error: Literal["fail", "continue"] = "fail"


class WorkNode(Fallible):
    """A node that a worker carries out."""

    retry: Retry | None = None
    timeout_s: float | None = Field(default=None, gt=0, le=86_400, allow_inf_nan=False)
    key: str | None = Field(
        default=None,
        min_length=1,
        max_length=limits.EXPRESSION_CHARS,
        description="Concurrency key; may hold expressions. Steps of one key share its limit.",
    )


class ToolNode(WorkNode):
    """Calls a tool of the registry."""

    tool: str = Field(min_length=1, max_length=200)
    arguments: ObjectValue = Field(default_factory=dict, description="May hold expressions.")


class Agent(Strict):
    """A task template by name, or a free task in words; exactly one of them."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["template"]}, {"required": ["task"]}]}
    )

    template: str | SkipJsonSchema[None] = Field(default=None, min_length=1, max_length=200)
    task: str | SkipJsonSchema[None] = Field(default=None, min_length=1, max_length=100_000)
    input: ObjectValue = Field(default_factory=dict, description="May hold expressions.")

    @model_validator(mode="after")
    def _one(self) -> "Agent":
        _check_one(self, "template", "task")
        return self


class AgentNode(WorkNode):
    """Gives a task to the agents."""

    agent: Agent


class InputFile(Strict):
    """A file the code finds as `/task/input/<name>`; both may hold expressions."""

    name: str = Field(min_length=1, max_length=limits.EXPRESSION_CHARS)
    file_id: str = Field(min_length=1, max_length=limits.EXPRESSION_CHARS)


class Sandbox(Strict):
    """Python for the sandbox; `code` is literal or one whole expression, never a mixture.

    `input` may hold expressions; the code finds its value in the variable `inputs`.
    """

    code: str = Field(min_length=1, max_length=1_000_000)
    requirements: list[str] = Field(default_factory=list, max_length=50)
    input_files: list[InputFile] = Field(default_factory=list, max_length=100)
    input: Any = None


class SandboxNode(WorkNode):
    """Runs Python in the sandbox."""

    sandbox: Sandbox


class Approval(Strict):
    """Asks a person; the answer must fit `form` and is the step's output."""

    title: str = Field(min_length=1, max_length=limits.EXPRESSION_CHARS)
    form: JsonSchema = Field(default_factory=lambda: {"type": "object"})
    timeout_s: Seconds | None = None


class Wait(Strict):
    """Waits for a while, until a moment (RFC 3339), or for a person; exactly one of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": [name]} for name in ("seconds", "until", "approval")]
        }
    )

    seconds: Annotated[
        Any,
        _or_expression("a number or one expression", int, float),
        _any_of({"type": "number", "minimum": 0, "maximum": limits.LONGEST_WAIT_S}),
    ] = None
    until: str | SkipJsonSchema[None] = Field(
        default=None, min_length=1, max_length=limits.EXPRESSION_CHARS
    )
    approval: Approval | SkipJsonSchema[None] = None

    @model_validator(mode="after")
    def _one(self) -> "Wait":
        _check_one(self, "seconds", "until", "approval")
        return self


class WaitNode(Fallible):
    """Holds the workflow up."""

    wait: Wait


class Arm(Strict):
    """The nodes that run if the expression is true (JMESPath's truth)."""

    if_: Whole = Field(alias="if")
    then: list[Name] = Field(max_length=limits.NODES)


class Branch(Strict):
    """The first arm whose `if` is true is taken, or `else`; the other arms' nodes are skipped."""

    when: list[Arm] = Field(min_length=1, max_length=50)
    else_: list[Name] = Field(default_factory=list, alias="else", max_length=limits.NODES)


class BranchNode(Node):
    """Chooses which nodes run."""

    branch: Branch


class Map(Strict):
    """Does the same for every item of a list; `item` and `index` are known to what is done."""

    over: ListValue
    max_items: int = Field(default=100, ge=1, le=limits.MAP_ITEMS)
    parallel: int = Field(default=10, ge=1, le=limits.MAP_ITEMS)
    do: "Body"


class MapNode(Fallible):
    """Fans out over a list; its output is the list of the items' outputs, in order."""

    map: Map


class SubDefinition(Strict):
    """Nodes done for one item. Without `output`, it is that of the last nodes."""

    nodes: dict[Name, "AnyNode"] = Field(min_length=1, json_schema_extra=_MOST_NODES)
    output: Any = None
    on_error: Literal["fail", "continue"] = "fail"


def kind_of(raw: Any) -> str | None:
    """The kind of a node as JSON: the one of the six words it has."""
    if not isinstance(raw, dict):
        return None
    found = [kind for kind in KINDS if kind in raw]
    return f"<{found[0]}>" if len(found) == 1 else None


def _body_kind(raw: Any) -> str | None:
    if isinstance(raw, dict) and "nodes" in raw:
        return "<definition>"
    found = kind_of(raw)
    return None if found == "<branch>" else found


_Tool = Annotated[ToolNode, Tag("<tool>")]
_Agent = Annotated[AgentNode, Tag("<agent>")]
_Map = Annotated[MapNode, Tag("<map>")]
_Branch = Annotated[BranchNode, Tag("<branch>")]
_Wait = Annotated[WaitNode, Tag("<wait>")]
_Sandbox = Annotated[SandboxNode, Tag("<sandbox>")]
_Sub = Annotated[SubDefinition, Tag("<definition>")]
TAGS = frozenset([*(f"<{kind}>" for kind in KINDS), "<definition>"])

AnyNode = Annotated[
    _Tool | _Agent | _Map | _Branch | _Wait | _Sandbox,
    Discriminator(
        kind_of,
        custom_error_type="node_kind",
        custom_error_message=f"A node has exactly one of {', '.join(KINDS)}.",
    ),
]
Body = Annotated[
    _Tool | _Agent | _Map | _Wait | _Sandbox | _Sub,
    Discriminator(
        _body_kind,
        custom_error_type="node_kind",
        custom_error_message="Give `nodes`, or one node of kind tool, agent, map, wait or sandbox.",
    ),
]


class Definition(Strict):
    """A workflow: a graph of named nodes without cycles."""

    model_config = ConfigDict(title="Workflow definition, version 1")

    workflow: Literal[1] = Field(description="The version of this format.")
    title: str | None = Field(default=None, max_length=200)
    description: str | None = Field(default=None, max_length=10_000)
    meta: dict[str, Any] | None = None
    input_schema: JsonSchema | None = Field(
        default=None, description="JSON Schema (2020-12) of the workflow's input."
    )
    nodes: dict[Name, AnyNode] = Field(min_length=1, json_schema_extra=_MOST_NODES)
    output: Any = Field(
        default=None,
        description="The result; may hold expressions. Without it, that of the last nodes.",
    )
