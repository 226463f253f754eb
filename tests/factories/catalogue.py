"""Tools and the servers that offer them."""

from uuid import UUID, uuid4

from app.registry.discovery.tables import ToolIndex
from app.registry.servers.tables import McpServer, McpServerVersion, RegistryNotice
from app.registry.tables import McpTool, ToolVersion
from tests.factories.kind import Factory, Row, Values


def _tool(_user_id: UUID) -> Values:
    return {
        "tool_id": uuid4(),
        "name": f"sequence.tool_{uuid4().hex}",
        "server": "sequence",
        "gateway_url": "stdio:sequence",
        "credit_cost_per_call": 10_000,
        "timeout_s": 30.0,
        "status": "Approved",
        "latest_version": 1,
    }


def _tool_version(_user_id: UUID) -> Values:
    return {"version": 1, "sha256": "0" * 64, "definition": {"name": "tool"}}


def _tool_index(_user_id: UUID) -> Values:
    return {
        "tool_name": f"sequence.tool_{uuid4().hex}",
        "digest": "0" * 64,
        "model": "test",
        "words": "'sequence'",
        "embedding": [1.0, 0.0],
    }


def _server(user_id: UUID) -> Values:
    slug = f"s{uuid4().hex[:20]}"
    return {
        "server_id": uuid4(),
        "user_id": user_id,
        "slug": slug,
        "name": f"org.example/{slug}",
        "offer": {"price_micro": 0, "timeout_s": None, "calls_per_minute": None, "tools": {}},
        "latest_version": 1,
    }


def _server_version(user_id: UUID) -> Values:
    return {"number": 1, "user_id": user_id, "version": "1.0.0", "document": {}, "address": {}}


def _notice(user_id: UUID) -> Values:
    return {
        "notice_id": uuid4(),
        "user_id": user_id,
        "slug": "lab",
        "kind": "registry.server_approved",
        "subject": "lab",
        "details": {},
    }


FACTORIES: dict[Row, Factory] = {
    McpServer: _server,
    McpServerVersion: _server_version,
    McpTool: _tool,
    RegistryNotice: _notice,
    ToolIndex: _tool_index,
    ToolVersion: _tool_version,
}
