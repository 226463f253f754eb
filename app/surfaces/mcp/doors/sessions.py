"""The SDK's keeper of sessions, in which one user cannot take all the room there is."""

from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.surfaces.mcp.doors.origins import security
from app.surfaces.problems import problem

_AGAIN_S = 60


class Sessions(StreamableHTTPSessionManager):
    """An ASGI application; sessions without a request for half an hour end by themselves."""

    def __init__(self, server: Server[Any], settings: Settings, *, stateless: bool = False) -> None:
        super().__init__(
            server,
            stateless=stateless,
            security_settings=security(settings),
            max_request_body_size=settings.request_limit,
            max_sessions=settings.mcp_sessions,
        )
        self._most_of_one = settings.mcp_sessions_per_user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.handle_request(scope, receive, send)
        except AppError as error:
            await problem(error, scope["path"])(scope, receive, send)

    def _admit_session(
        self, requestor: AuthorizationContext | None
    ) -> StreamableHTTPServerTransport | None:
        """See the SDK, which leaves no other place to look at who asks."""
        if requestor is not None and self._count_of(requestor) >= self._most_of_one:
            raise AppError(
                Code.RATE_LIMITED,
                f"You have {self._most_of_one} sessions open.",
                hint="End those that are not needed (DELETE), or use 2026-07-28, which has none.",
                details={"retry_after_s": _AGAIN_S},
            )
        return super()._admit_session(requestor)

    def _count_of(self, requestor: AuthorizationContext) -> int:
        if len(self._session_owners) < self._most_of_one:
            return 0
        # By whatever key or client: they are one user's.
        return sum(one["subject"] == requestor["subject"] for one in self._session_owners.values())
