"""What both doors show of the modules' values: one shape each, over HTTP and over MCP."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self
from urllib.parse import quote as percent
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.agents import TaskTemplate
from app.billing import Quote, Wallet
from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.orchestration import JobEvent, JobView, Submitted
from app.registry import Tool
from app.storage import StoredFile

JobStatus = Literal[
    "Queued", "Running", "Retrying", "Waiting", "Success", "Failed", "Cancelled", "Dead"
]


class View(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(from_attributes=True, extra="ignore")

    def as_json(self) -> dict[str, Any]:
        """The answer as JSON values."""
        return self.model_dump(mode="json")


class Me(View):
    """The caller, as its key makes it known."""

    user_id: UUID
    project_id: UUID | None
    key_id: UUID | None
    scopes: list[str]

    @classmethod
    def of(cls, principal: Principal) -> Self:
        """The view of a principal."""
        return cls(
            user_id=principal.owner,
            project_id=principal.project_id,
            key_id=principal.key_id,
            scopes=sorted(principal.scopes),
        )


class WalletOut(View):
    """A user's credits in micro-credits (1 credit = 1,000,000)."""

    user_id: UUID
    available_micro: int = Field(description="Free to spend.")
    held_micro: int = Field(description="Set aside for runs that have not ended.")
    captured_micro: int = Field(description="Spent so far.")
    granted_micro: int = Field(description="Ever received.")

    @classmethod
    def of(cls, wallet: Wallet) -> Self:
        """The view of a wallet."""
        return cls.model_validate(wallet)


class RateOut(View):
    """A price of usage: `amount_micro` for every `per_units` of a measured quantity."""

    kind: str
    subject: str
    unit: str
    per_units: int
    amount_micro: int


class QuoteOut(View):
    """What a run costs, in micro-credits: by outcome `amount_micro` if it succeeds and nothing if
    it fails; in usage mode what it uses, up to `cap_micro`, of which `amount_micro` is held first.
    """

    kind: Literal["template", "tool", "workflow"]
    name: str
    mode: Literal["outcome", "usage"]
    amount_micro: int
    price_version: int
    low_micro: int | None = Field(None, description="In usage mode: what a small run costs.")
    high_micro: int | None = Field(None, description="In usage mode: what a large run costs.")
    cap_micro: int | None = Field(None, description="In usage mode: what no run goes beyond.")
    rates: list[RateOut] | None = None

    @classmethod
    def of(cls, quote: Quote) -> Self:
        """The view of a quote."""
        return cls.model_validate(quote)


class TemplateOut(View):
    """A task that can be run, with the JSON Schema of its input."""

    name: str
    title: str
    description: str
    version: int | str
    price_micro: int
    input_schema: dict[str, Any]

    @classmethod
    def of(cls, template: TaskTemplate) -> Self:
        """The view of a task template."""
        return cls(
            name=template.name,
            title=template.title,
            description=template.description,
            version=template.version,
            price_micro=template.price_micro,
            input_schema=dict(template.input_schema()),
        )


class ToolOut(View):
    """A tool that can be called, its schemas and the price of one answered call."""

    name: str
    server: str
    description: str
    status: str
    price_micro: int
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None

    @classmethod
    def of(cls, tool: Tool) -> Self:
        """The view of a registered tool."""
        definition = tool.definition
        output = definition.output_schema
        return cls(
            name=tool.full_name,
            server=tool.server,
            description=tool.description,
            status=tool.status,
            price_micro=tool.price_micro,
            input_schema=dict(definition.input_schema),
            output_schema=None if output is None else dict(output),
        )


class FileOut(View):
    """A stored file: an upload (`input`) or what a job made (`artifact`)."""

    file_id: UUID
    job_id: UUID | None
    name: str
    media_type: str
    size: int
    sha256: str
    kind: Literal["input", "artifact"]
    created_at: datetime

    @classmethod
    def of(cls, file: StoredFile) -> Self:
        """The view of a stored file."""
        return cls.model_validate(file)


class Link(View):
    """A download link; whoever has it may read the file until `expires` (Unix seconds)."""

    url: str
    expires: int


class LinkedFile(FileOut):
    """A job's file, with its MCP resource and a download link."""

    uri: str
    url: str
    expires: int

    @classmethod
    def linked(cls, file: StoredFile, link: Link) -> Self:
        """The view of a job's file with the ways to read it."""
        shown = FileOut.of(file).model_dump()
        return cls(**shown, uri=file_uri(file), url=link.url, expires=link.expires)


class WorkflowRef(View):
    """What a run of a workflow was made of; its definition is read with its steps."""

    title: str | None
    saved: dict[str, Any] | None = Field(description="`name` and `version`, if it was saved.")
    billing: str
    forked_from: UUID | None

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> Self | None:
        """The view of a job's definition, if that is a workflow."""
        if not isinstance(inner := definition.get("definition"), Mapping):
            return None
        return cls(
            title=inner.get("title"),
            saved=definition.get("saved"),
            billing=definition.get("billing", "outcome"),
            forked_from=definition.get("forked_from"),
        )


class JobOut(View):
    """A run: what was asked, where it stands, what it cost."""

    job_id: UUID
    kind: str
    status: JobStatus
    is_terminal: bool
    project_id: UUID | None
    template: str | None = None
    template_version: int | str | None = None
    input: Any = None
    tool: str | None = Field(None, description="Of a job that is one tool call.")
    arguments: dict[str, Any] | None = None
    workflow: WorkflowRef | None = Field(None, description="Of a job that runs a workflow.")
    billing: Literal["outcome", "usage"] = "outcome"
    price_micro: int = Field(
        description="Held at first; by outcome the price, in usage mode the high estimate."
    )
    charged_micro: int | None = Field(description="What it cost; null until it has ended.")
    attempt: int
    start_time: datetime | None
    end_time: datetime | None
    final_output: dict[str, Any] | None
    error: dict[str, Any] | None

    @classmethod
    def fields_of(cls, job: JobView) -> dict[str, Any]:
        """The field values of a job's view."""
        names = (
            "job_id kind status is_terminal project_id price_micro charged_micro attempt start_time"
            " end_time final_output error"
        )
        definition: Mapping[str, Any] = job.definition
        return {name: getattr(job, name) for name in names.split()} | {
            "template": definition.get("template"),
            "billing": definition.get("billing", "outcome"),
            "template_version": definition.get("version"),
            "input": definition.get("input"),
            "tool": definition.get("tool"),
            "arguments": definition.get("arguments"),
            "workflow": WorkflowRef.of(definition),
        }

    @classmethod
    def of(cls, job: JobView) -> Self:
        """The view of a job."""
        return cls(**cls.fields_of(job))


class BatchResult(View):
    """What became of one job of a batch: `error`, or else the other three."""

    job_id: UUID | None = None
    status: JobStatus | None = None
    is_new: bool | None = Field(None, description="False if its idempotency key had a job already.")
    error: dict[str, Any] | None = Field(
        None, description="Why it was refused: `code`, `message`, perhaps `hint` and `details`."
    )

    @staticmethod
    def row(result: Submitted | AppError) -> dict[str, Any]:
        """The JSON form of a result; a batch has many, so no model is made of each."""
        if isinstance(result, AppError):
            return {"error": result.as_dict()}
        job = result.job
        return {"job_id": str(job.job_id), "status": job.status, "is_new": result.is_new}


class BatchOut(View):
    """One result a job, in the order of the request."""

    results: list[BatchResult]


class JobWithFiles(JobOut):
    """A run and, once it has ended, its files."""

    files: list[LinkedFile] = Field(default_factory=list)


class JobPage(View):
    """Jobs, newest first; pass `next` as `before` for the page after."""

    jobs: list[JobOut]
    next: UUID | None


class Event(View):
    """One line of a job's trace."""

    job_id: UUID
    seq: int
    kind: str
    data: dict[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, event: JobEvent) -> Self:
        """The view of a trace event."""
        return cls.model_validate(event)


class Trace(View):
    """A piece of a job's trace; pass `next_seq` as `after_seq` for the rest."""

    job_id: UUID
    status: str
    events: list[Event]
    next_seq: int
    is_terminal: bool = Field(description="The trace has ended and nothing more will come.")


class ToolAnswer(View):
    """What a tool answered, in MCP's terms, and what the call cost."""

    structured: Any = None
    content: list[dict[str, Any]]
    is_error: bool
    error: dict[str, Any] | None = None
    charged_micro: int


def file_uri(file: StoredFile) -> str:
    """The MCP resource URI of a job's file."""
    return f"uaol://jobs/{file.job_id}/files/{percent(file.name, safe='')}"
