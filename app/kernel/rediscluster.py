"""The client of a Redis Cluster for the kernel: where it is, and scripts that run there.

Every call is bounded in time and raises `ClusterError` only. Nothing kept there is the only copy.
"""

import asyncio
import hashlib
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from app.kernel.errors import AppError, Code

_PORT = 6379
_PATIENCE_S = 1.0
_CONNECTIONS = 200


class ClusterError(Exception):
    """The cluster, or the part of it that was asked, did not answer as it should."""


def addresses(url: str) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Hosts and ports of `redis[s]://[user:password@]host[:port],...`, and the login they share.

    Raises `invalid_input`.
    """
    parts = [urlsplit(part.strip() if "://" in part else f"//{part.strip()}")
             for part in url.split(",")]  # fmt: skip
    try:
        hosts = [(part.hostname or "", part.port or _PORT) for part in parts]
    except ValueError:
        hosts = [("", 0)]
    first = parts[0]
    if first.scheme not in {"redis", "rediss"} or not all(host for host, _ in hosts):
        raise AppError(
            Code.INVALID_INPUT,
            "UAOL_REDIS_URL is not a list of addresses.",
            hint="Write redis://host:port, or several with commas between them.",
        )
    login = {
        "username": unquote(first.username) if first.username else None,
        "password": unquote(first.password) if first.password else None,
        "ssl": first.scheme == "rediss",
    }
    return hosts, login


class Script:
    """A Lua script; `key_count` of what it is given are keys, all of one slot."""

    __slots__ = ("key_count", "sha", "text")

    def __init__(self, text: str, key_count: int = 1) -> None:
        self.text = text
        self.key_count = key_count
        # Redis names scripts by this hash; it protects nothing.
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Cluster:
    """One pool of connections a process, made at the first call."""

    def __init__(self, url: str, *, patience_s: float = _PATIENCE_S) -> None:
        """`url` as in `addresses`; a call ends after `patience_s` at the latest."""
        self._hosts, self._login = addresses(url)
        self._patience_s = patience_s
        self._client: RedisCluster | None = None

    async def run(self, script: Script, *given: str | int | float) -> Any:
        """What the script returns, by its hash; sent whole only to a node that has not seen it."""
        try:
            async with asyncio.timeout(self._patience_s):
                try:
                    return await self._made().evalsha(script.sha, script.key_count, *given)
                except NoScriptError:
                    return await self._made().eval(script.text, script.key_count, *given)
        except TimeoutError as error:
            raise ClusterError("no answer in time") from error
        except Exception as error:
            # When nodes go away under it, the client also raises `AttributeError` and the like.
            raise ClusterError(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            try:
                async with asyncio.timeout(self._patience_s):
                    await client.aclose()
            except Exception as error:
                raise ClusterError(f"{type(error).__name__}: {error}") from error

    def _made(self) -> RedisCluster:
        if self._client is None:
            self._client = RedisCluster(
                startup_nodes=[ClusterNode(host, port) for host, port in self._hosts],
                require_full_coverage=False,
                # After so many redirections it would close connections that others wait on.
                reinitialize_steps=0,
                socket_timeout=self._patience_s,
                socket_connect_timeout=self._patience_s / 2,
                retry=Retry(NoBackoff(), 1),
                protocol=2,
                max_connections=_CONNECTIONS,
                **self._login,
            )
        return self._client
