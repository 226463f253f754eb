"""Connecting a server: discovery, the user's consent, the way through the browser, the tokens.

The flow is bound to one user (who proved it with a key), one server at one origin, and one
browser (a cookie): a link that somebody else sends leads to no connection of theirs, and an answer
that was begun elsewhere is not taken.
"""

import hashlib
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit
from uuid import UUID

from app.kernel import audit
from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE, Principal
from app.kernel.uow import Transactions
from app.proxy.credentials import FindServer, RemoteServer, origin_of
from app.proxy.oauth import grants, store
from app.proxy.oauth.discovery import discover
from app.proxy.oauth.faults import GrantRefusedError, flow_invalid
from app.proxy.oauth.kept import KeptFlow, KeptTokens, read_tokens
from app.proxy.oauth.registration import client_for
from app.proxy.oauth.types import AuthServer, Client, Consent, Grant, Identity, Tokens
from app.proxy.oauth.web import Web, host_of
from app.registry import UpstreamOAuth
from app.vault import SecretKeeper, Slot

LIFETIME_S = 600.0


class OAuthFlows:
    """The three steps of a connection: `begin`, `approve`, `finish`. One instance a process."""

    def __init__(
        self,
        find: FindServer,
        keeper: SecretKeeper,
        transactions: Transactions,
        clock: Clock,
        web: Web,
        identity: Identity,
    ) -> None:
        self._find = find
        self._keeper = keeper
        self._transactions = transactions
        self._clock = clock
        self._web = web
        self.identity = identity

    def server(self, slug: str) -> RemoteServer:
        """The remote server of that slug, or `not_found`."""
        upstream = self._find(slug)
        if upstream is None:
            raise AppError(
                Code.NOT_FOUND,
                f"There is no remote server named {slug[:100]!r}.",
                hint="List the tools to see the servers' names.",
            )
        return upstream

    async def begin(self, principal: Principal, slug: str) -> Consent:
        """Find the authorization server and prepare what the user is asked.

        Raises `not_found`, `oauth_failed`, `keys_unavailable`.
        """
        upstream = self.server(slug)
        oauth = upstream.oauth or UpstreamOAuth()
        wanted, known = await self._before(principal, upstream)
        resource, server = await discover(self._web, upstream.url, (*oauth.scopes, *wanted))
        is_same = known is not None and (
            (known.issuer, known.redirect_uri) == (server.issuer, self.identity.redirect_uri)
        )
        client = await client_for(
            self._web, server, oauth, self.identity, _registered(known) if is_same else None
        )
        grant = Grant(
            server.issuer,
            resource.resource,
            self.identity.redirect_uri,
            server.token_endpoint,
            server.revocation_endpoint,
            client,
        )
        return await self._start(principal, upstream, grant, server, resource.scopes)

    async def approve(self, slug: str, flow_id: UUID, browser: str) -> str:
        """The user said yes in that browser: the address to send it to. Raises `link_invalid`."""
        async with self._transactions.begin(SERVICE) as uow:
            sealed = await store.approve(uow, flow_id, slug, _hash(browser))
        if sealed is None:
            raise flow_invalid("it has expired, or began in another browser")
        flow = KeptFlow.load((await self._keeper.vault.open(sealed)).value)
        return grants.authorize_url(
            flow.server, flow.grant, state=flow.state, verifier=flow.verifier, scopes=flow.scopes
        )

    async def finish(self, answer: Mapping[str, str], browser: str) -> str:
        """Take the authorization server's answer, store the tokens; give the server's slug.

        `answer` is the query of the redirect. Raises `link_invalid`, `oauth_failed`.
        """
        state = answer.get("state", "")
        async with self._transactions.begin(SERVICE) as uow:
            taken = await store.take(uow, _hash(state), _hash(browser))
        if taken is None:
            raise flow_invalid("its state is unknown, expired, used, or of another browser")
        slug, sealed = taken
        flow = KeptFlow.load((await self._keeper.vault.open(sealed)).value)
        self._check_issuer(flow.server, answer)
        if "error" in answer or "code" not in answer:
            raise GrantRefusedError(host_of(flow.server.issuer), answer.get("error"))
        upstream = self.server(slug)
        if origin_of(upstream.url) != flow.origin:
            raise flow_invalid("the server has moved meanwhile")
        tokens = await grants.exchange(
            self._web, flow.grant, answer["code"], flow.verifier, self._clock.now()
        )
        principal = Principal("user", sealed.slot.user_id)
        await self._connect(principal, slug, flow, tokens)
        return slug

    def _check_issuer(self, server: AuthServer, answer: Mapping[str, str]) -> None:
        """Refuse an answer of another authorization server than was asked (RFC 9207)."""
        given = answer.get("iss")
        if given is None and not server.sends_issuer:
            return
        if given != server.issuer:
            raise flow_invalid("another authorization server answered than was asked")

    async def _before(
        self, principal: Principal, upstream: RemoteServer
    ) -> tuple[tuple[str, ...], Grant | None]:
        """The scopes that were missed, and the grant of the connection before, if any."""
        async with self._transactions.begin(principal.elevated()) as uow:
            row = await store.get(uow, principal.owner, upstream.slug)
        if row is None or row.origin != origin_of(upstream.url):
            return (), None
        ref = store.secret_of(principal.owner, upstream.slug)
        kept = await read_tokens(self._keeper, principal, ref)
        return row.wanted_scopes, None if kept is None else kept.grant

    async def _start(
        self,
        principal: Principal,
        upstream: RemoteServer,
        grant: Grant,
        server: AuthServer,
        scopes: tuple[str, ...],
    ) -> Consent:
        state, browser = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        origin = origin_of(upstream.url)
        flow = KeptFlow(grant, server, origin, scopes, state, grants.new_verifier())
        slot = Slot(principal.owner, new_id(), 1)
        sealed = await self._keeper.vault.seal(slot, flow.dump())
        values = {
            "state_hash": _hash(state),
            "browser_hash": _hash(browser),
            "lifetime_s": LIFETIME_S,
        }
        async with self._transactions.begin(principal.elevated()) as uow:
            await store.add_flow(uow, upstream.slug, sealed, values)
        door = urlsplit(server.authorization_endpoint).netloc
        return Consent(slot.secret_id, browser, upstream.slug, origin, server.issuer, door, scopes)

    async def _connect(
        self, principal: Principal, slug: str, flow: KeptFlow, tokens: Tokens
    ) -> None:
        kept, granted = KeptTokens(flow.grant, tokens), tokens.scopes
        ref = store.secret_of(principal.owner, slug)
        await self._keeper.set(principal, ref, kept.dump())
        # Without a list the server granted what was asked (RFC 6749, section 5.1).
        scopes = list(flow.scopes if granted is None else granted)
        values = {
            "server": slug,
            "origin": flow.origin,
            "issuer": flow.server.issuer,
            "scopes": scopes,
            "wanted_scopes": [],
            "expires_at": tokens.expires_at,
        }
        async with self._transactions.begin(principal.elevated()) as uow:
            await store.connect(uow, principal.owner, values)
            details = {"issuer": flow.server.issuer, "scopes": scopes}
            await audit.record(uow, "oauth.connected", f"server:{slug}", details)


def _registered(known: Grant | None) -> Client | None:
    return known.client if known is not None and known.client.is_registered else None


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
