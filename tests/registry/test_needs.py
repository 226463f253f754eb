"""What servers need of their callers, as `mcp_config.yaml` and server.json say it."""

from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.registry import SecretHeader, UpstreamOAuth, from_server_json
from app.registry.config import parse_config

DEVELOPER = "019a0e5c-31c0-7000-8000-5d0c6a1f2b3c"


def server(**keys: Any) -> Any:
    entry = {"url": "https://api.example/mcp", **keys}
    return parse_config({"mcp_servers": {"api": entry}}, {"CLIENT": "from the environment"})


def test_secrets_are_read_in_both_forms() -> None:
    given = {
        "X-Key": "KEY",
        "Authorization": {"value": "Bearer {TOKEN}", "scope": "project", "required": False},
        "X-Other": {"name": "OTHER"},
    }
    (found,) = server(secrets=given).servers
    assert found.secrets == (
        SecretHeader("X-Key", "{KEY}"),
        SecretHeader("Authorization", "Bearer {TOKEN}", "project", is_required=False),
        SecretHeader("X-Other", "{OTHER}"),
    )
    assert found.secrets[1].names == ("TOKEN",)
    assert found.secrets[1].fill({"TOKEN": "a{b}c"}) == "Bearer a{b}c"


def test_oauth_is_read_and_its_secret_comes_from_the_environment() -> None:
    assert server().servers[0].oauth is None
    assert server(oauth=False).servers[0].oauth is None
    assert server(oauth=True).servers[0].oauth == UpstreamOAuth()
    given = {"scopes": ["a", "b", "a"], "client_id": "x", "client_secret": "${CLIENT}"}
    found = server(oauth=given).servers[0].oauth
    assert found == UpstreamOAuth(("a", "b"), "x", "from the environment")
    assert "environment" not in repr(found)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"secrets": ["X-Key"]}, "secrets"),
        ({"secrets": {"X Key": "KEY"}}, "secrets.X Key"),
        ({"secrets": {"Host": "KEY"}}, "secrets.Host"),
        ({"secrets": {"Content-Length": "KEY"}}, "secrets.Content-Length"),
        ({"secrets": {"Mcp-Session-Id": "KEY"}}, "secrets.Mcp-Session-Id"),
        ({"secrets": {"Cookie": "KEY"}}, "secrets.Cookie"),
        ({"secrets": {"Last-Event-ID": "KEY"}}, "secrets.Last-Event-ID"),
        ({"secrets": {"X-Key": "not a name"}}, "secrets.X-Key"),
        ({"secrets": {"X-Key": {}}}, "secrets.X-Key.name"),
        ({"secrets": {"X-Key": {"name": "A", "more": 1}}}, "secrets.X-Key.more"),
        ({"secrets": {"X-Key": {"name": "A", "scope": "world"}}}, "secrets.X-Key.scope"),
        ({"secrets": {"X-Key": {"name": "A", "scope": "developer"}}}, "secrets"),
        ({"secrets": {"X-Key": {"value": "plain text"}}}, "secrets.X-Key.value"),
        ({"secrets": {"X-Key": {"value": "{A}", "name": "B"}}}, "secrets.X-Key.value"),
        ({"secrets": {"X-Key": {"value": "{A} ä"}}}, "secrets.X-Key.value"),
        ({"secrets": {"X-Key": "A"}, "headers": {"x-key": "b"}}, "secrets.X-Key"),
        ({"secrets": {"Authorization": "A"}, "oauth": True}, "oauth"),
        ({"oauth": "yes"}, "oauth"),
        ({"oauth": {"scopes": ["two words"]}}, "oauth.scopes"),
        ({"oauth": {"client_secret": "x"}}, "oauth.client_secret"),
        ({"oauth": {"client_id": "x", "client_secret": "${NOT_SET}"}}, "oauth.client_secret"),
        ({"developer": "somebody"}, "developer"),
        ({"url": None, "command": "x", "secrets": {"X-Key": "A"}}, "secrets"),
        ({"url": None, "command": "x", "oauth": True}, "oauth"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(keys: dict[str, Any], named: str) -> None:
    with pytest.raises(AppError) as caught:
        server(**keys)
    assert caught.value.code is Code.CONFIG_INVALID
    assert caught.value.details["key"] == f"mcp_servers.api.{named}"


def test_a_developers_secrets_need_a_developer() -> None:
    given = {"X-Key": {"name": "A", "scope": "developer"}}
    (found,) = server(secrets=given, developer=DEVELOPER).servers
    assert str(found.developer_id) == DEVELOPER


def test_secret_headers_of_server_json() -> None:
    entries = [
        {"name": "Authorization", "value": "Bearer {token}", "isSecret": True, "isRequired": True},
        {"name": "X-Api-Key", "isSecret": True},
    ]
    assert from_server_json(entries) == (
        SecretHeader("Authorization", "Bearer {token}"),
        SecretHeader("X-Api-Key", "{X-Api-Key}", is_required=False),
    )
