"""Finds what a server needs of this caller, opens it, and remembers it for a short while."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.scrub import Scrubber, injected
from app.kernel.wakeups import Ticket, Wakeups
from app.proxy.credentials.origins import origin_of
from app.proxy.credentials.types import (
    DEVELOPER,
    NO_INJECTION,
    FindServer,
    Injection,
    RemoteServer,
    TokenSource,
    UpstreamRefusedError,
)
from app.registry import SecretArgument, SecretHeader
from app.vault import Secret, SecretKeeper, SecretRef, changes_of

_TTL_S = 30.0
_MOST = 10_000
_REFUSALS = (401, 403)

_Need = SecretHeader | SecretArgument
_Key = tuple[str, UUID | None, UUID | None]


class _Kept(NamedTuple):
    """An injection, until when it is good, and a ticket for changes of what it was made of."""

    upstream: RemoteServer
    injection: Injection
    until: float
    changes: Ticket


class _Filled(NamedTuple):
    """Headers and arguments, the secret values in them, and the scopes those came from."""

    headers: dict[str, str]
    values: list[str]
    scopes: set[str]
    arguments: dict[str, dict[str, str | AppError]]

    @property
    def is_whole(self) -> bool:
        """Whether nothing that is required is missing."""
        every = (value for found in self.arguments.values() for value in found.values())
        return not any(isinstance(value, AppError) for value in every)


class ServerCredentials:
    """One instance a process. A secret changed elsewhere is seen at once, at most 30 s later."""

    def __init__(
        self,
        find: FindServer,
        keeper: SecretKeeper,
        wakeups: Wakeups,
        clock: Clock,
        tokens: TokenSource | None = None,
    ) -> None:
        self._find = find
        self._keeper = keeper
        self._wakeups = wakeups
        self._clock = clock
        self._tokens = tokens
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        # Servers that asked for a token though nobody said that they would.
        self._asking: set[str] = set()

    async def headers(self, principal: Principal, server: str) -> Injection:
        """See `Credentials.headers`."""
        upstream = self._find(server)
        if upstream is None or not self._needs(upstream):
            return NO_INJECTION
        key = (server, principal.user_id, principal.project_id)
        kept = self._kept.get(key)
        if kept is None or not self._is_fresh(kept, upstream):
            kept = await self._make(principal, upstream)
            self._kept[key] = kept
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return kept.injection

    async def refused(
        self,
        principal: Principal,
        server: str,
        status: int,
        www_authenticate: str | None,
        sent: Injection,
    ) -> AppError | None:
        """See `Credentials.refused`."""
        upstream = self._find(server)
        self._kept.pop((server, principal.user_id, principal.project_id), None)
        if status not in _REFUSALS or upstream is None:
            return UpstreamRefusedError(server, status, None)
        is_known = self._wants_token(upstream)
        if self._tokens is not None and (is_known or _asks_for_token(upstream, www_authenticate)):
            self._asking.add(server)
            token = sent.get("Authorization", "").removeprefix("Bearer ") or None
            return await self._tokens.refused(principal, upstream, status, www_authenticate, token)
        if upstream.secrets or upstream.arguments:
            return _wrong_secret(upstream, status)
        return UpstreamRefusedError(server, status, None)

    def _needs(self, upstream: RemoteServer) -> bool:
        is_given = bool(upstream.secrets or upstream.arguments)
        return is_given or self._wants_token(upstream)

    def _wants_token(self, upstream: RemoteServer) -> bool:
        return upstream.oauth is not None or upstream.slug in self._asking

    def _is_fresh(self, kept: _Kept, upstream: RemoteServer) -> bool:
        if kept.changes.event.is_set() or self._clock.monotonic() >= kept.until:
            return False
        # A server that moved to another address gets nothing that was made for the old one.
        return kept.upstream == upstream

    async def _make(self, principal: Principal, upstream: RemoteServer) -> _Kept:
        owners = {principal.owner}
        if upstream.developer_id is not None:
            owners.add(upstream.developer_id)
        changes = self._wakeups.ticket(*(changes_of(owner) for owner in owners))
        until = self._clock.monotonic() + _TTL_S
        filled = await self._secrets(principal, upstream)
        if self._wants_token(upstream) and self._tokens is not None:
            token = await self._tokens.token(principal, upstream)
            filled.headers["Authorization"] = f"Bearer {token.value}"
            filled.values.append(token.value)
            filled.scopes.add("oauth")
            if token.expires_at is not None:
                left = (token.expires_at - self._clock.now()).total_seconds()
                until = min(until, self._clock.monotonic() + max(0.0, left))
        injected.add(filled.values)
        scrubber, owner = Scrubber(filled.values), _owner(principal, upstream, filled.scopes)
        if not filled.is_whole:
            # Looked for again by the next call.
            until = self._clock.monotonic()
        made = Injection(filled.headers, scrubber, owner, filled.arguments)
        return _Kept(upstream, made, until, changes)

    async def _secrets(self, principal: Principal, upstream: RemoteServer) -> _Filled:
        """The filled headers and arguments.

        A missing header refuses every call, a missing argument those of its tool.
        """
        needs: tuple[_Need, ...] = (*upstream.secrets, *upstream.arguments)
        refs = [
            ref
            for need in needs
            for name in need.names
            for ref in _places(principal, upstream, need, name)
        ]
        found = await self._keeper.get(principal, list(dict.fromkeys(refs))) if refs else {}
        filled = _Filled({}, [], set(), {})

        def fill(need: _Need) -> str | None:
            chosen = _choose(principal, upstream, need, found)
            if chosen is None:
                return None
            texts = {name: found[ref].text for name, ref in chosen.items()}
            filled.values.extend(texts.values())
            filled.scopes.update(ref.scope for ref in chosen.values())
            return need.fill(texts)

        for header in upstream.secrets:
            if (text := fill(header)) is not None:
                filled.headers[header.header] = text
        for argument in upstream.arguments:
            try:
                value: str | AppError | None = fill(argument)
            except AppError as error:
                value = error
            if value is not None:
                filled.arguments.setdefault(argument.tool, {})[argument.argument] = value
        return filled


def _places(
    principal: Principal, upstream: RemoteServer, need: _Need, name: str
) -> list[SecretRef]:
    """Where the secret may be, the nearest place first.

    A caller's own is taken from the key's project, then from the user; without one the server's
    developer may provide for all.
    """
    places: list[SecretRef] = []
    project, developer = principal.project_id, upstream.developer_id
    if need.scope in ("user", "project") and project is not None:
        places.append(SecretRef(principal.owner, "project", name, project))
    if need.scope == "user":
        places.append(SecretRef(principal.owner, "user", name))
    if need.scope in ("user", "developer") and developer is not None:
        places.append(SecretRef(developer, "developer", name))
    return places


def _choose(
    principal: Principal,
    upstream: RemoteServer,
    need: _Need,
    found: Mapping[SecretRef, Secret],
) -> dict[str, SecretRef] | None:
    """The secret for each name in a need; None for a need that may be left out and is."""
    chosen: dict[str, SecretRef] = {}
    origin = origin_of(upstream.url)
    for name in need.names:
        known = [ref for ref in _places(principal, upstream, need, name) if ref in found]
        fitting = [ref for ref in known if origin in found[ref].origins]
        if fitting:
            chosen[name] = fitting[0]
        elif not need.is_required:
            return None
        else:
            why = f"is not set for {origin}" if known else "is not set"
            raise _missing(upstream, need, name, why)
    return chosen


def _missing(upstream: RemoteServer, need: _Need, name: str, why: str) -> AppError:
    if need.scope == "developer":
        hint = f"The developer of {upstream.slug} has to set it."
    else:
        given = f'{{"value": "...", "scope": "{need.scope}", "servers": ["{upstream.slug}"]}}'
        key = " with a key of the project" if need.scope == "project" else ""
        hint = f"Set it{key}: `PUT /v1/secrets/{name}` with {given}, or the tool secrets.set."
    if isinstance(need, SecretHeader):
        place = {"header": need.header}
    else:
        place = {"tool": need.tool, "argument": need.argument}
    return AppError(
        Code.SECRET_MISSING,
        f"The server {upstream.slug} needs the {need.scope} secret {name}, which {why}.",
        hint=hint,
        details={
            "server": upstream.slug,
            "secret": name,
            "scope": need.scope,
            **place,
            "origin": origin_of(upstream.url),
        },
    )


def _wrong_secret(upstream: RemoteServer, status: int) -> AppError:
    needs: tuple[_Need, ...] = (*upstream.secrets, *upstream.arguments)
    names = sorted({name for need in needs for name in need.names})
    return AppError(
        Code.SECRET_REFUSED,
        f"The server {upstream.slug} refuses the secrets it was sent (HTTP {status}):"
        f" {', '.join(names)}.",
        hint="Set them again with values that are good for this server.",
        details={"server": upstream.slug, "secrets": names},
    )


def _asks_for_token(upstream: RemoteServer, www_authenticate: str | None) -> bool:
    # A server whose Authorization header is a secret has no room for a token.
    is_taken = any(header.header.lower() == "authorization" for header in upstream.secrets)
    if is_taken or upstream.has_authorization:
        return False
    told = (www_authenticate or "").lower()
    # A challenge may leave out where the metadata is: it is at its well-known address then.
    return "resource_metadata" in told or ("bearer" in told and not upstream.secrets)


def _owner(principal: Principal, upstream: RemoteServer, scopes: set[str]) -> str | None:
    """Whose credentials these are: sessions of older servers are never shared beyond that."""
    if scopes & {"user", "oauth"}:
        return f"user:{principal.owner}"
    if "project" in scopes:
        return f"project:{principal.project_id}"
    return f"{DEVELOPER}{upstream.developer_id}" if scopes else None
