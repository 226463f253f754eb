"""Users' connections with servers: tokens that are good now, refreshed by one at a time."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from app.kernel import audit
from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.uow import Transactions
from app.kernel.wakeups import Wakeups
from app.proxy.credentials import AccessToken, RemoteServer, origin_of
from app.proxy.oauth import grants, store
from app.proxy.oauth.challenge import Challenge, read_challenge
from app.proxy.oauth.faults import (
    GrantRefusedError,
    account_refused,
    connection_required,
    failed,
)
from app.proxy.oauth.kept import KeptTokens, read_tokens
from app.proxy.oauth.types import Connection, Tokens
from app.proxy.oauth.web import Web
from app.vault import SecretKeeper, changes_of

# A token is renewed this long before its end, so that it does not end on its way.
_EARLY = timedelta(seconds=30)
_LEASE_S = 40.0
_LOOK_S = 0.5
_LOOKS = 100
# One that is refused right after it was renewed will not get better by renewing it again.
_JUST_NOW = timedelta(seconds=10)
_FORBIDDEN = 403

ConnectUrl = Callable[[str], str]
"""The address where a user connects a server."""


class _Known(NamedTuple):
    """A connection and its tokens as they are now."""

    row: Connection
    kept: KeptTokens


class OAuthConnections:
    """The `TokenSource` of this platform. One instance a process."""

    def __init__(
        self,
        keeper: SecretKeeper,
        transactions: Transactions,
        wakeups: Wakeups,
        clock: Clock,
        web: Web,
        connect_url: ConnectUrl,
    ) -> None:
        self._keeper = keeper
        self._transactions = transactions
        self._wakeups = wakeups
        self._clock = clock
        self._web = web
        self._connect_url = connect_url
        self._renewing: dict[tuple[UUID, str], asyncio.Task[Tokens]] = {}

    async def token(self, principal: Principal, upstream: RemoteServer) -> AccessToken:
        """A token that is good now; see `TokenSource`."""
        known = await self._known(principal, upstream)
        tokens = known.kept.tokens
        if not self._is_good(tokens):
            tokens = await self._renew(principal, upstream, tokens.access)
        ends = None if tokens.expires_at is None else tokens.expires_at - _EARLY
        return AccessToken(tokens.access, ends)

    async def refused(
        self,
        principal: Principal,
        upstream: RemoteServer,
        status: int,
        www_authenticate: str | None,
        sent: str | None,
    ) -> AppError | None:
        """What to make of a refusal; see `TokenSource`."""
        challenge = read_challenge(www_authenticate)
        try:
            known = await self._known(principal, upstream)
            if status == _FORBIDDEN:
                return await self._step_up(principal, upstream, known, challenge)
            if sent is None or known.kept.tokens.access != sent:
                return None
            if self._clock.now() - known.row.refreshed_at < _JUST_NOW:
                await self._break(principal, upstream)
            await self._renew(principal, upstream, sent)
        except AppError as error:
            return error
        return None

    async def list(self, principal: Principal) -> list[Connection]:
        """The principal's connections, without tokens."""
        async with self._transactions.begin(principal) as uow:
            return await store.list_of(uow, principal.owner)

    async def disconnect(self, principal: Principal, server: str) -> None:
        """Forget a connection here, then tell the authorization server. Raises `not_found`."""
        ref = store.secret_of(principal.owner, server)
        kept = await read_tokens(self._keeper, principal, ref)
        async with self._transactions.begin(principal.elevated()) as uow:
            if not await store.disconnect(uow, principal.owner, server):
                raise AppError(
                    Code.NOT_FOUND,
                    f"You have no connection with {server[:100]}.",
                    hint="List yours with `GET /v1/oauth/connections`.",
                )
            await self._keeper.vault.delete(uow, ref)
            await audit.record(uow, "oauth.disconnected", f"server:{server}", {})
        if kept is not None:
            await self._revoke(kept)

    async def _revoke(self, kept: KeptTokens) -> None:
        try:
            await grants.revoke(self._web, kept.grant, kept.tokens.refresh or kept.tokens.access)
        except AppError:
            # It is forgotten here, whatever the other side thinks of it.
            return

    async def _known(self, principal: Principal, upstream: RemoteServer) -> _Known:
        """The connection with this server at this origin; raises `connection_required`."""
        async with self._transactions.begin(principal.elevated()) as uow:
            row = await store.get(uow, principal.owner, upstream.slug)
        if row is None:
            raise self._needed(upstream, "needs you to connect your account")
        if row.origin != origin_of(upstream.url):
            raise self._needed(upstream, "has moved; connect your account again")
        if row.status == "broken":
            raise self._needed(upstream, "does not accept your connection any more")
        ref = store.secret_of(principal.owner, upstream.slug)
        kept = await read_tokens(self._keeper, principal, ref)
        if kept is None:
            raise self._needed(upstream, "needs you to connect your account again")
        return _Known(row, kept)

    def _needed(self, upstream: RemoteServer, why: str, scopes: tuple[str, ...] = ()) -> AppError:
        return connection_required(upstream.slug, self._connect_url(upstream.slug), why, scopes)

    def _is_good(self, tokens: Tokens) -> bool:
        return tokens.expires_at is None or self._clock.now() < tokens.expires_at - _EARLY

    async def _step_up(
        self, principal: Principal, upstream: RemoteServer, known: _Known, challenge: Challenge
    ) -> AppError:
        """For 403: more consent, if that is what is missing (RFC 6750, section 3.1)."""
        missing = set(challenge.scopes) - set(known.row.scopes)
        if challenge.error != "insufficient_scope" or not missing:
            return account_refused(upstream.slug)
        async with self._transactions.begin(principal.elevated()) as uow:
            await store.want(uow, principal.owner, upstream.slug, challenge.scopes)
        why = "needs your consent to more than you gave"
        return self._needed(upstream, why, tuple(sorted(missing)))

    async def _renew(self, principal: Principal, upstream: RemoteServer, used: str) -> Tokens:
        """New tokens in the place of `used`; callers of this process wait for the same ones."""
        key = (principal.owner, upstream.slug)
        task = self._renewing.get(key)
        if task is None:
            name = f"oauth-refresh-{upstream.slug}"
            task = asyncio.create_task(self._renew_once(principal, upstream, used), name=name)
            self._renewing[key] = task
            task.add_done_callback(lambda _: self._renewing.pop(key, None))
        # A caller that goes away must not lose a refresh token that is already spent.
        return await asyncio.shield(task)

    async def _renew_once(self, principal: Principal, upstream: RemoteServer, used: str) -> Tokens:
        for _ in range(_LOOKS):
            changes = self._wakeups.ticket(changes_of(principal.owner))
            known = await self._known(principal, upstream)
            if known.kept.tokens.access != used and self._is_good(known.kept.tokens):
                return known.kept.tokens
            async with self._transactions.begin(principal.elevated()) as uow:
                has_right = await store.lease(uow, principal.owner, upstream.slug, _LEASE_S)
            if has_right:
                return await self._refresh(principal, upstream, used)
            await self._wakeups.wait(changes, _LOOK_S)
        raise failed(f"The connection with {upstream.slug}", "is being renewed for too long")

    async def _refresh(self, principal: Principal, upstream: RemoteServer, used: str) -> Tokens:
        """Use the refresh token; this process has the right to."""
        try:
            # Read again: whoever had the right before may have renewed it.
            kept = (await self._known(principal, upstream)).kept
            if kept.tokens.access != used and self._is_good(kept.tokens):
                await self._release(principal, upstream)
                return kept.tokens
            if kept.tokens.refresh is None:
                await self._break(principal, upstream)
            tokens = await grants.refresh(
                self._web, kept.grant, kept.tokens.refresh or "", self._clock.now()
            )
        except GrantRefusedError as error:
            if error.word in ("invalid_grant", "unauthorized_client", "invalid_client"):
                await self._break(principal, upstream)
            await self._release(principal, upstream)
            raise
        except AppError as error:
            if error.code is not Code.CONNECTION_REQUIRED:
                await self._release(principal, upstream)
            raise
        return await self._keep(principal, upstream, KeptTokens(kept.grant, tokens))

    async def _keep(self, principal: Principal, upstream: RemoteServer, kept: KeptTokens) -> Tokens:
        tokens = kept.tokens
        ref = store.secret_of(principal.owner, upstream.slug)
        await self._keeper.set(principal, ref, kept.dump(), must_exist=True)
        scopes = None if tokens.scopes is None else list(tokens.scopes)
        async with self._transactions.begin(principal.elevated()) as uow:
            values = {"expires_at": tokens.expires_at, "scopes": scopes}
            await store.refreshed(uow, principal.owner, upstream.slug, values)
        return tokens

    async def _release(self, principal: Principal, upstream: RemoteServer) -> None:
        async with self._transactions.begin(principal.elevated()) as uow:
            await store.release(uow, principal.owner, upstream.slug)

    async def _break(self, principal: Principal, upstream: RemoteServer) -> None:
        """Note that the user has to connect again, and say so."""
        async with self._transactions.begin(principal.elevated()) as uow:
            await store.mark_broken(uow, principal.owner, upstream.slug)
            await audit.record(uow, "oauth.broken", f"server:{upstream.slug}", {})
        raise self._needed(upstream, "does not accept your connection any more")
