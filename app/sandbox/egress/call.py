"""One call of a task: from its first byte to its line in the log."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

from app.sandbox.egress.answers import ESTABLISHED, TLS_DENIED, RefusedError, refusal
from app.sandbox.egress.body import chunked_body, plain_body
from app.sandbox.egress.budget import Budget
from app.sandbox.egress.flow import CutError, Flow
from app.sandbox.egress.hello import read_hello
from app.sandbox.egress.policies import Policy
from app.sandbox.egress.request import MAX_HEAD, Request, parse_request
from app.sandbox.egress.response import read_answer
from app.sandbox.egress.upstream import Dialler, Ends
from app.sandbox.types import EgressCall, EgressVerdict

HEAD_S = 10.0
_CHUNK = 2**16
_FLUSH_S = 5.0
# Nobody reads, or nobody will in time: what is still to be written is not waited for.
_UNHEARD = frozenset({"idle", "seconds", "client_left"})


class Call:
    """A connection that a task made to its proxy; it carries one request and no second."""

    def __init__(self, client: Ends, policy: Policy, budget: Budget, dialler: Dialler) -> None:
        self._client = client
        self._policy, self._budget, self._dialler = policy, budget, dialler
        self._began = time.monotonic()
        self._host, self._port = "", 0
        self._flow: Flow | None = None
        self._is_established = False
        self._verdict: EgressVerdict = "failed"
        self._reason = "internal"

    def record(self) -> EgressCall:
        """What is to be noted of the call now."""
        moved = self._flow.moved if self._flow else {"up": 0, "down": 0}
        millis = round((time.monotonic() - self._began) * 1000)
        return EgressCall(
            self._host, self._port, moved["up"], moved["down"], millis, self._verdict, self._reason
        )

    async def run(self, *, is_one_too_many: bool) -> None:
        """Serve the connection to its end; whoever opened it aborts it after a failure."""
        await self._conclude(is_one_too_many=is_one_too_many)
        await self._client.close(_FLUSH_S)

    async def _conclude(self, *, is_one_too_many: bool) -> None:
        try:
            if is_one_too_many:
                most = self._policy.connections
                raise RefusedError("too_many_connections", f"More than {most} connections at once")
            await self._serve()
            self._verdict, self._reason = "allowed", ""
        except RefusedError as error:
            self._verdict = "failed" if error.is_failure else "refused"
            self._reason = error.code
            await self._tell(error)
        except asyncio.CancelledError:
            self._verdict, self._reason = "allowed", "task_ended"
            raise
        except CutError as error:
            self._verdict, self._reason = error.verdict, error.reason
            if error.reason in _UNHEARD:
                self._client.abort()

    async def _serve(self) -> None:
        request = parse_request(await self._head())
        self._host, self._port = request.host, request.port
        self._check(request)
        upstream = await self._dialler.dial(request.host, request.port)
        try:
            await self._carry(request, upstream)
        finally:
            upstream.abort()

    async def _head(self) -> bytes:
        try:
            async with asyncio.timeout(HEAD_S):
                return await self._client.reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            why = f"Malformed request: its head is longer than {MAX_HEAD} bytes"
            raise RefusedError("malformed", why) from None
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise RefusedError("malformed", "Malformed request: it is cut short") from None
            raise CutError("allowed", "client_left") from None
        except TimeoutError:
            raise RefusedError("too_slow", "The request does not come to its end") from None
        except OSError:
            raise CutError("allowed", "client_left") from None

    def _check(self, request: Request) -> None:
        host, port = request.host, request.port
        ports = self._policy.ports(host)
        if not ports:
            raise RefusedError("host_not_allowed", f"{host} is not an allowed host")
        if port not in ports:
            raise RefusedError("port_not_allowed", f"{host}:{port} is not an allowed port")
        if request.is_tunnel == (port in self._policy.plain_ports):
            way = "http://" if request.is_tunnel else "https://"
            raise RefusedError("port_not_allowed", f"{host}:{port} is open to {way} only")

    async def _carry(self, request: Request, upstream: Ends) -> None:
        self._flow = Flow(self._client, upstream, self._policy, self._budget)
        if request.is_tunnel:
            self._is_established = await self._client.send(ESTABLISHED)
            up = _all(self._client.reader, await self._hello(request.host))
            down = _all(upstream.reader)
        else:
            up = _plain(request, self._client.reader)
            down = read_answer(upstream.reader, request.host)
        await self._flow.run(up, down, is_tunnel=request.is_tunnel)

    async def _hello(self, host: str) -> bytes:
        try:
            async with asyncio.timeout(HEAD_S):
                return await read_hello(self._client.reader, host)
        except TimeoutError:
            raise RefusedError("too_slow", "TLS does not begin") from None
        except (asyncio.IncompleteReadError, OSError):
            raise CutError("allowed", "client_left") from None

    async def _tell(self, error: RefusedError) -> None:
        self._host, self._port = self._host or error.host, self._port or error.port
        if self._is_established:
            answer = TLS_DENIED
        elif self._flow and self._flow.moved["down"]:
            return  # the upstream has begun to answer
        else:
            answer = refusal(error, self._host, self._port, self._policy.hosts)
        await self._client.send(answer)


async def _all(reader: asyncio.StreamReader, first: bytes = b"") -> AsyncGenerator[bytes, None]:
    if first:
        yield first
    while data := await reader.read(_CHUNK):
        yield data


async def _plain(request: Request, reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    yield request.head()
    length = request.length
    body = chunked_body(reader) if length is None else plain_body(reader, length)
    async with contextlib.aclosing(body):
        async for data in body:
            yield data
