"""The client of a Redis, a cluster or a single server: where it is, and scripts that run there.

Every call is bounded in time and raises `RedisAwayError` only. Nothing kept there is the only copy.
"""

import asyncio
import hashlib
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from app.kernel.errors import AppError, Code

_PORT = 6379
_PATIENCE_S = 1.0
_CONNECTIONS = 200
_IS_ALONE = "cluster support disabled"


class RedisAwayError(Exception):
    """Redis, or the part of it that was asked, did not answer as it should."""


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
        raise _refused("is not a list of addresses")
    if any(part.path not in {"", "/", "/0"} or part.query for part in parts):
        # A cluster has no databases, and wake-ups know of none.
        raise _refused("says more than addresses; UAOL_REDIS_PREFIX keeps things apart")
    login = {
        "username": unquote(first.username) if first.username else None,
        "password": unquote(first.password) if first.password else None,
        "ssl": first.scheme == "rediss",
    }
    return hosts, login


def _refused(why: str) -> AppError:
    hint = "Write redis://host:port, or several of a cluster with commas between them."
    return AppError(Code.INVALID_INPUT, f"UAOL_REDIS_URL {why}.", hint=hint)


async def is_cluster(client: Redis, hosts: int = 1) -> bool:
    """Whether the server is one of a cluster. Raises `RedisAwayError` if it must be and is not."""
    try:
        await client.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
    except ResponseError as error:
        if _IS_ALONE not in str(error):
            raise
        if hosts > 1:
            why = "there are several addresses, and this one is of no cluster"
            raise RedisAwayError(why) from error
        return False
    return True


class Script:
    """A Lua script; `key_count` of what it is given are keys, all of one slot."""

    __slots__ = ("key_count", "sha", "text")

    def __init__(self, text: str, key_count: int = 1) -> None:
        self.text = text
        self.key_count = key_count
        # Redis names scripts by this hash; it protects nothing.
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisClient:
    """One pool of connections a process, made at the first call."""

    def __init__(
        self,
        url: str,
        *,
        patience_s: float = _PATIENCE_S,
        retries: int = 1,
        connections: int = _CONNECTIONS,
    ) -> None:
        """`url` as in `addresses`; a call ends after `patience_s` at the latest."""
        self._hosts, login = addresses(url)
        self._patience_s = patience_s
        self._options: dict[str, Any] = {
            "socket_timeout": patience_s,
            "socket_connect_timeout": patience_s / 2,
            # Whoever asks tries again, and works without it until then.
            "retry": Retry(NoBackoff(), retries),
            "protocol": 2,
            "max_connections": connections,
            **login,
        }
        self._client: Redis | RedisCluster | None = None
        self._making = asyncio.Lock()
        self._turn = 0

    async def run(self, script: Script, *given: str | int | float) -> Any:
        """What the script returns, by its hash; sent whole only to a node that has not seen it."""
        try:
            async with asyncio.timeout(self._patience_s):
                client = await self.connected()
                try:
                    return await client.evalsha(script.sha, script.key_count, *given)
                except NoScriptError:
                    return await client.eval(script.text, script.key_count, *given)
        except TimeoutError as error:
            raise RedisAwayError("no answer in time") from error
        except RedisAwayError:
            raise
        except Exception as error:
            # When nodes go away under it, the client also raises `AttributeError` and the like.
            raise RedisAwayError(f"{type(error).__name__}: {error}") from error

    async def connected(self) -> Redis | RedisCluster:
        """The library's client, for callers who bound time and errors themselves."""
        if self._client is None:
            async with self._making:
                if self._client is None:
                    self._client = await self._made()
        return self._client

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            try:
                async with asyncio.timeout(self._patience_s):
                    await client.aclose()
                    if isinstance(client, RedisCluster):
                        # After a fault it takes itself for closed, whatever was opened since.
                        await client.nodes_manager.aclose()
                        await client.nodes_manager.aclose("startup_nodes")
            except Exception as error:
                raise RedisAwayError(f"{type(error).__name__}: {error}") from error

    async def _made(self) -> Redis | RedisCluster:
        """The client that fits what answers at the first address that does."""
        for left in reversed(range(len(self._hosts))):
            # The next call begins with another, whatever becomes of this one.
            host, port = self._hosts[self._turn % len(self._hosts)]
            self._turn += 1
            single = Redis(host=host, port=port, **self._options)
            try:
                if not await is_cluster(single, len(self._hosts)):
                    return single
            except (RedisError, OSError):
                if not left:
                    raise
                continue
            finally:
                # What it is asked next opens a new one.
                await single.aclose()
            break
        return RedisCluster(
            startup_nodes=[ClusterNode(*each) for each in self._hosts],
            require_full_coverage=False,
            # After so many redirections it would close connections that others wait on.
            reinitialize_steps=0,
            **self._options,
        )
