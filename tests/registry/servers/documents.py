"""Server.json documents, good and bad."""

from copy import deepcopy
from typing import Any

GOOD: dict[str, Any] = {
    "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
    "name": "io.github.alice/weather",
    "title": "Weather",
    "description": "Forecasts for any place.",
    "version": "1.0.2",
    "repository": {"url": "https://github.com/alice/weather", "source": "github"},
    "websiteUrl": "https://weather.example.org",
    "icons": [{"src": "https://weather.example.org/icon.png", "sizes": ["48x48", "any"]}],
    "packages": [
        {
            "registryType": "pypi",
            "identifier": "weather-mcp",
            "version": "1.0.2",
            "runtimeHint": "uvx",
            "transport": {"type": "stdio"},
            "packageArguments": [{"type": "named", "name": "--units", "default": "si"}],
            "environmentVariables": [{"name": "API_KEY", "isSecret": True, "isRequired": True}],
        }
    ],
    "remotes": [
        {"type": "sse", "url": "https://weather.example.org/sse"},
        {
            "type": "streamable-http",
            "url": "https://{region}.weather.example.org/{tenant}/mcp",
            "variables": {
                "region": {"default": "eu", "choices": ["eu", "us"]},
                "tenant": {"isRequired": True},
            },
            "headers": [
                {
                    "name": "Authorization",
                    "value": "Bearer {token}",
                    "isRequired": True,
                    "isSecret": True,
                    "variables": {"token": {"isSecret": True}},
                },
                {"name": "X-Units", "default": "si", "choices": ["si", "us"]},
                {"name": "X-Optional"},
            ],
        },
    ],
    "_meta": {"io.modelcontextprotocol.registry/publisher-provided": {"tool": "by hand"}},
}
SIMPLE: dict[str, Any] = {
    "name": "io.github.alice/simple",
    "description": "Simple.",
    "version": "1.0.0",
    "remotes": [{"type": "streamable-http", "url": "https://simple.example.org/mcp"}],
}


def changed(document: dict[str, Any], pointer: str, value: Any) -> dict[str, Any]:
    """The document with another value at a JSON pointer; `...` removes it."""
    copy = deepcopy(document)
    *path, last = [int(step) if step.isdigit() else step for step in pointer[1:].split("/")]
    place: Any = copy
    for step in path:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copy


def simple(url: str, version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """A small document for a server at `url`."""
    remote = {"type": "streamable-http", "url": url}
    return SIMPLE | {"version": version, "remotes": [remote]} | more


# What is changed, the pointer that is named, the code.
BAD: list[tuple[str, Any, str, str]] = [
    ("/name", ..., "/server/name", "invalid_input"),
    ("/name", "weather", "/server/name", "invalid_input"),
    ("/name", "alice/weather", "/server/name", "invalid_input"),
    ("/name", "io.github.alice/weather/x", "/server/name", "invalid_input"),
    ("/name", "io.github.аlice/weather", "/server/name", "invalid_input"),
    ("/description", "x" * 101, "/server/description", "invalid_input"),
    ("/description", 5, "/server/description", "invalid_input"),
    ("/version", "latest", "/server/version", "invalid_input"),
    ("/version", "^1.2.3", "/server/version", "invalid_input"),
    ("/version", "1.x", "/server/version", "invalid_input"),
    ("/version", ">=1.2.3", "/server/version", "invalid_input"),
    ("/$schema", "https://example.org/schema.json", "/server/$schema", "invalid_input"),
    ("/status", "active", "/server/status", "unknown_field"),
    ("/remotes", [], "/server/remotes", "invalid_input"),
    ("/remotes", ..., "/server/remotes", "invalid_input"),
    ("/remotes/0/type", "websocket", "/server/remotes/0/type", "invalid_input"),
    ("/remotes/0/url", ..., "/server/remotes/0/url", "invalid_input"),
    ("/remotes/0/url", "ftp://example.org", "/server/remotes/0/url", "invalid_input"),
    ("/packages/0/version", "latest", "/server/packages/0/version", "invalid_input"),
    ("/packages/0/transport", ..., "/server/packages/0/transport", "invalid_input"),
    ("/packages/0/registry_type", "pypi", "/server/packages/0/registry_type", "unknown_field"),
    (
        "/packages/0/packageArguments/0",
        {"type": "positional"},
        "/server/packages/0/packageArguments/0",
        "invalid_input",
    ),
    (
        "/packages/0/packageArguments/0",
        {"type": "named"},
        "/server/packages/0/packageArguments/0/name",
        "invalid_input",
    ),
    ("/repository/source", ..., "/server/repository/source", "invalid_input"),
    ("/icons/0/src", "http://example.org/x.png", "/server/icons/0/src", "invalid_input"),
    (
        "/remotes/1/headers/0/name",
        "bad header",
        "/server/remotes/1/headers/0/name",
        "invalid_input",
    ),
    (
        "/_meta",
        {"io.modelcontextprotocol.registry/official": {}},
        "/server/_meta/io.modelcontextprotocol.registry~1official",
        "invalid_input",
    ),
]
