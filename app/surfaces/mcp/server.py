"""The MCP server: features on the SDK's lowlevel server. A feature registers its own methods."""

from typing import Any, Protocol

from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server

from app import __version__
from app.surfaces.mcp.apps import Apps
from app.surfaces.mcp.billing import BillingTools
from app.surfaces.mcp.finding import FindTools
from app.surfaces.mcp.jobs import JobTools
from app.surfaces.mcp.limits import LimitTools
from app.surfaces.mcp.live import Live
from app.surfaces.mcp.longtasks import LongTasks
from app.surfaces.mcp.names import Names
from app.surfaces.mcp.owntools import OwnTools
from app.surfaces.mcp.prompting import Completions, Prompts
from app.surfaces.mcp.queues import QueueTools
from app.surfaces.mcp.registry import RegistryTools
from app.surfaces.mcp.resources import Resources
from app.surfaces.mcp.rights import RightfulServer
from app.surfaces.mcp.schedules import ScheduleTools
from app.surfaces.mcp.secrets import SecretTools
from app.surfaces.mcp.tasks import TaskTools
from app.surfaces.mcp.tools import Tools
from app.surfaces.mcp.webhooks import WebhookTools
from app.surfaces.mcp.workflows import WorkflowTools
from app.surfaces.operations import Operations

_INSTRUCTIONS = (
    "Priced, checked tasks and tools. Start with bio_agent.list_templates; ask billing.get_quote"
    " what a task costs; run it with bio_agent.run_task and follow it with bio_agent.stream_trace."
    " Files of a run are resources below uaol://jobs/."
)
_LISTED = CacheHint(ttl_ms=5_000, scope="private")
_VOLATILE = CacheHint(ttl_ms=0, scope="private")


class Feature(Protocol):
    """A part of the server.

    Handlers are registered by method: they return the wire form itself, which the SDK checks
    against the caller's protocol version.
    """

    def register(self, server: Server[Any]) -> None:
        """Add the feature's handlers and what it declares."""


def _own(operations: Operations, long: LongTasks) -> OwnTools:
    """The platform's own tools, in the order in which they are listed."""
    find = FindTools(operations)
    families = (
        TaskTools(operations, long),
        JobTools(operations),
        LimitTools(operations),
        ScheduleTools(operations),
        QueueTools(operations),
        WebhookTools(operations),
        SecretTools(operations),
        WorkflowTools(operations, long),
        BillingTools(operations),
        RegistryTools(operations),
        find,
    )
    own = OwnTools([tool for family in families for tool in family.tools()])
    find.know(own)
    return own


def _features(operations: Operations) -> list[Feature]:
    long, apps = LongTasks(operations), Apps(operations)
    own = _own(operations, long)
    names = Names(operations, own.names)
    return [
        Tools(operations, own, names, long),
        Resources(operations, apps),
        Prompts(operations, names),
        Completions(operations),
        long,
        apps,
        Live(operations),
    ]


def make_server(operations: Operations) -> RightfulServer:
    """The server, without a transport."""
    server = RightfulServer(
        "uaol",
        title="UAOL",
        version=__version__,
        instructions=_INSTRUCTIONS,
        cache_hints={
            "tools/list": _LISTED,
            "prompts/list": _LISTED,
            "resources/list": _VOLATILE,
            "resources/read": _VOLATILE,
            "resources/templates/list": _LISTED,
        },
    )
    for feature in _features(operations):
        feature.register(server)
    return server
