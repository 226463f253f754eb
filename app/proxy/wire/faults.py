"""Faults of a remote server that the wire itself, or who holds its credentials, reacts to."""

from typing import Self

from app.kernel.errors import AppError
from app.proxy.faults import server_down


class _ServerDownError(AppError):
    @classmethod
    def because(cls, server: str, problem: str) -> Self:
        """The error as `tool_server_down`."""
        known = server_down(server, problem)
        return cls(known.code, known.message, hint=known.hint, details=known.details)


class UnreachableError(_ServerDownError):
    """No connection to the server could be made; nothing was sent."""


class SessionLostError(_ServerDownError):
    """The server no longer knows the session; the request was not carried out."""

    @classmethod
    def of(cls, server: str) -> Self:
        """The error for this server."""
        return cls.because(server, "has ended the session")


class RefusedRequestError(_ServerDownError):
    """The server refused the request by its HTTP status, without a JSON-RPC answer."""

    http_status: int = 0

    @classmethod
    def of(cls, server: str, status: int) -> Self:
        """The error for this status."""
        error = cls.because(server, f"answers with HTTP {status}")
        error.http_status = status
        return error
