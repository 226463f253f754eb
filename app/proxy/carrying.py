"""One request to a remote server with the caller's credentials, its answer without them."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
import orjson
from mcp.shared.inbound import find_invalid_x_mcp_header, mcp_param_headers, x_mcp_header_map

from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.proxy.credentials import NO_INJECTION, Credentials, Injection, UpstreamRefusedError
from app.proxy.telling import Teller
from app.proxy.wire import Answer, OnMessage, Target, Wire, cut
from app.registry import ToolDefinition

_TOKEN = "uaol"
_NONE: Mapping[str, str] = {}
_EMPTY = msgspec.Raw(b"{}")
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def carry(
    wire: Wire,
    target: Target,
    credentials: Credentials | None,
    principal: Principal,
    method: str,
    params: bytes,
    *,
    name: str | None,
    timeout_s: float,
    headers: Mapping[str, str] = _NONE,
    on_message: OnMessage | None = None,
) -> Answer:
    """The server's answer, secrets masked; credentials it refuses are renewed and sent once more.

    A server that refuses credentials (401, 403) has carried nothing out. Raises as `Wire.call` and
    `Credentials.headers` do.
    """
    injected = await injection(credentials, principal, target.name)
    is_call = method == "tools/call"
    for is_last in (False, True):
        try:
            answer = await wire.call(
                target,
                method,
                fill_params(params, injected.of(name or "")) if is_call else params,
                name=name,
                headers={**headers, **injected},
                timeout_s=timeout_s,
                owner=injected.owner or str(principal.user_id or ""),
                on_message=_scrubbing(on_message, injected),
            )
        except UpstreamRefusedError as error:
            if is_last:
                raise
            injected = await renewed(credentials, principal, target.name, error, injected)
        except AppError as error:
            raise injected.scrubber.error(error) from error
        else:
            return _scrubbed(answer, injected)
    raise AssertionError("unreachable")


def fill_params(params: bytes, values: Mapping[str, str]) -> bytes:
    """The params of a `tools/call` with these arguments added; all else stays as it was written."""
    if not values:
        return params
    parts = _objects.decode(params)
    given = _objects.decode(parts.get("arguments", _EMPTY))
    added = {name: msgspec.Raw(orjson.dumps(value)) for name, value in values.items()}
    parts["arguments"] = msgspec.Raw(msgspec.json.encode(given | added))
    return msgspec.json.encode(parts)


def fill_message(message: bytes, values: Mapping[str, str]) -> bytes:
    """As `fill_params`, for the whole request that holds them."""
    if not values:
        return message
    parts = _objects.decode(message)
    parts["params"] = msgspec.Raw(fill_params(bytes(parts["params"]), values))
    return msgspec.json.encode(parts)


async def injection(
    credentials: Credentials | None, principal: Principal, server: str
) -> Injection:
    """What to add to a request of this principal's to that server."""
    return NO_INJECTION if credentials is None else await credentials.headers(principal, server)


async def renewed(
    credentials: Credentials | None,
    principal: Principal,
    server: str,
    error: UpstreamRefusedError,
    sent: Injection,
) -> Injection:
    """New credentials in place of those refused; else raises what to tell the caller."""
    if credentials is None:
        raise error
    fault = await credentials.refused(
        principal, server, error.http_status, error.www_authenticate, sent
    )
    if fault is not None:
        raise sent.scrubber.error(fault) from error
    return await credentials.headers(principal, server)


def param_headers(definition: ToolDefinition, arguments: Mapping[str, Any]) -> dict[str, str]:
    """The `Mcp-Param-*` headers of a call, as the tool's input schema asks for them."""
    found = _header_map(_Schema(definition))
    return mcp_param_headers(found, arguments) if found else {}


class _Schema:
    """A schema that is the same as another one of the same version."""

    def __init__(self, definition: ToolDefinition) -> None:
        self._key, self.schema = definition.sha256, definition.input_schema

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Schema) and other._key == self._key


@lru_cache(maxsize=4096)
def _header_map(given: _Schema) -> Mapping[tuple[str, ...], str]:
    if find_invalid_x_mcp_header(given.schema) is not None:
        return {}
    return x_mcp_header_map(given.schema)


def asking_progress(params: dict[str, Any]) -> dict[str, Any]:
    """Params that ask the server for progress."""
    meta = dict(params.get("_meta") or {}) | {"progressToken": _TOKEN}
    return params | {"_meta": meta}


def progress_to(tell: Teller) -> OnMessage:
    """Hands progress notifications on, and lets all others be."""

    async def on_message(message: bytes) -> None:
        parts = cut(message)
        if parts.method != "notifications/progress":
            return
        said = orjson.loads(parts.params or b"{}")
        progress, total = said.get("progress"), said.get("total")
        if isinstance(progress, int | float):
            text = said.get("message")
            await tell(
                progress,
                total if isinstance(total, int | float) else None,
                text if isinstance(text, str) else None,
            )

    return on_message


def _scrubbing(on_message: OnMessage | None, injected: Injection) -> OnMessage | None:
    if on_message is None or not injected:
        return on_message

    async def scrubbed(message: bytes) -> None:
        await on_message(injected.scrubber.bytes(message))

    return scrubbed


def _scrubbed(answer: Answer, injected: Injection) -> Answer:
    if not injected:
        return answer
    scrub = injected.scrubber.bytes
    body = None if answer.body is None else scrub(answer.body)
    return Answer(answer.status, body, None if answer.error is None else scrub(answer.error))
