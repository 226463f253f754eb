"""The wire itself: finds a server's era, sends a request in its way, keeps to the time given."""

import asyncio
from collections.abc import Mapping

from app.kernel.egress import Resolve, resolve
from app.kernel.errors import AppError
from app.proxy.faults import tool_timeout
from app.proxy.wire.era import Eras, is_wrong_era, names_ours
from app.proxy.wire.modern import call_modern
from app.proxy.wire.pool import Pool
from app.proxy.wire.sessions import Sessions
from app.proxy.wire.types import Answer, OnMessage, Target


class HttpWire:
    """The `Wire` over HTTP; one per process."""

    def __init__(self, look_up: Resolve = resolve) -> None:
        self.pool = Pool(look_up)
        self.eras = Eras(self.pool)
        self.sessions = Sessions(self.pool)

    async def call(
        self,
        server: Target,
        method: str,
        params: bytes,
        *,
        name: str | None,
        headers: Mapping[str, str],
        timeout_s: float,
        owner: str | None,
        on_message: OnMessage | None = None,
    ) -> Answer:
        """See `Wire.call`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._carry(server, method, params, name, headers, owner, on_message)
        except TimeoutError as error:
            raise tool_timeout(f"{server.name}.{name or method}", timeout_s) from error

    async def close(self) -> None:
        """End all sessions and connections."""
        await self.sessions.close()
        await self.pool.close()

    async def _carry(
        self,
        server: Target,
        method: str,
        params: bytes,
        name: str | None,
        headers: Mapping[str, str],
        owner: str | None,
        on_message: OnMessage | None,
    ) -> Answer:
        """Send it in the known era's way; a server that has changed eras is asked anew, once."""
        tried = await self.eras.of(server, headers)
        for is_last in (False, True):
            outcome: Answer | AppError
            try:
                if tried == "modern":
                    outcome = await call_modern(
                        self.pool,
                        server,
                        method,
                        params,
                        name=name,
                        headers=headers,
                        on_message=on_message,
                    )
                else:
                    outcome = await self.sessions.call(
                        server, method, params, owner=owner, headers=headers, on_message=on_message
                    )
            except AppError as error:
                outcome = error
            if not is_last and is_wrong_era(outcome):
                self.eras.forget(server)
                found = await self.eras.of(server, headers)
                if found != tried or names_ours(outcome):
                    tried = found
                    continue
            if isinstance(outcome, AppError):
                raise outcome
            return outcome
        raise AssertionError("unreachable")
