"""One request to a remote server with the caller's credentials, its answer without them."""

from collections.abc import Mapping
from functools import lru_cache
from itertools import count
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

_numbers = count(1)
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


class _Told(msgspec.Struct, rename="camel"):
    progress_token: str
    progress: int | float
    total: int | float | None = None
    message: str | None = None


_told = msgspec.json.Decoder(_Told)


class Progress:
    """The progress of one request: asks the server for it, and hands on what is said of it.

    The token is the request's own: the stream of an older server carries what it says of others'.
    """

    def __init__(self, tell: Teller) -> None:
        self._tell, self._token = tell, f"uaol-{next(_numbers)}"

    def asked(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Params that ask for it."""
        meta = dict(params.get("_meta") or {}) | {"progressToken": self._token}
        return {**params, "_meta": meta}

    async def __call__(self, message: bytes) -> None:
        """Take a message of the server's; all but this progress is let be."""
        try:
            parts = cut(message)
            if parts.method != "notifications/progress":
                return
            said = _told.decode(parts.params)
        except (ValueError, RecursionError):
            return
        if said.progress_token == self._token:
            await self._tell(said.progress, said.total, said.message)


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
