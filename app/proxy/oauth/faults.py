"""The faults of connections, as errors with a code and what to do next."""

import re

from app.kernel.errors import AppError, Code

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class GrantRefusedError(AppError):
    """The authorization server said no, in one of the words of RFC 6749, section 5.2."""

    def __init__(self, host: str, word: object) -> None:
        said = word if isinstance(word, str) and _WORD.fullmatch(word) else "no reason given"
        super().__init__(
            Code.OAUTH_FAILED,
            f"The authorization server {host} refuses: {said}.",
            hint="Connect again; if it stays, ask the server's developer.",
            details={"oauth_error": said},
        )
        self.word = said


def failed(who: str, problem: str) -> AppError:
    """The error for an authorization server or metadata that cannot be used."""
    return AppError(
        Code.OAUTH_FAILED,
        f"{who} {problem}.",
        hint="Try again; if it stays, the fault is the server's and its developer's to mend.",
    )


def connection_required(
    server: str, connect_url: str, why: str, scopes: tuple[str, ...] = ()
) -> AppError:
    """The error for a server that the user has to connect first."""
    details: dict[str, object] = {"server": server, "connect_url": connect_url}
    if scopes:
        details["scopes"] = list(scopes)
    return AppError(
        Code.CONNECTION_REQUIRED,
        f"The server {server} {why}.",
        hint=f"Open {connect_url} in a browser, connect your account, then call again.",
        details=details,
    )


def account_refused(server: str) -> AppError:
    """The error for a server that knows the user's account and does not let it do this."""
    return AppError(
        Code.SECRET_REFUSED,
        f"The server {server} does not let your account do this (HTTP 403).",
        hint="Ask for access there, or connect another account.",
        details={"server": server},
    )


def flow_invalid(why: str) -> AppError:
    """The error for a step of a connection that nobody is in the middle of."""
    return AppError(
        Code.LINK_INVALID,
        f"The connection cannot be finished: {why}.",
        hint="Begin again at the server's connect address, in one browser, within ten minutes.",
    )
