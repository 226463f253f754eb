"""Answers of tools that say how long they hold: in memory, by tool, user and arguments.

A tool's definition is part of the key, so an answer never outlives it. Only answers are kept, no
refusal and no fault.
"""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from app.kernel.clock import Clock
from app.kernel.principal import Principal
from app.proxy.carrying import injection
from app.proxy.credentials import Credentials
from app.registry import Tool

_MOST_BYTES = 64 * 2**20
# Beyond its bytes an answer takes about this much for its key and the dictionary.
_EXTRA = 400
# Whatever does not fit many times over would only push the others out.
_LARGEST = _MOST_BYTES // 64

Key = tuple[str, str, str, bytes]


class Kept(NamedTuple):
    """An answer as raw JSON."""

    content: bytes
    structured: bytes | None

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content) + len(self.structured or b"")


class _Entry(NamedTuple):
    kept: Kept
    until: float


class ResultCache:
    """The answers of one process, the least recently used forgotten first."""

    def __init__(self, clock: Clock, most_bytes: int = _MOST_BYTES) -> None:
        self._clock = clock
        self._most_bytes = most_bytes
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        #: What is kept, as `most_bytes` counts it.
        self.bytes = 0

    async def key_of(
        self,
        credentials: Credentials | None,
        principal: Principal,
        tool: Tool,
        arguments: Mapping[str, Any],
    ) -> Key | None:
        """As `key`, for a server that may be sent credentials. Raises what these raise."""
        if not tool.definition.declared.cache_ttl_s:
            return None
        sent = await injection(credentials, principal, tool.server)
        return self.key(principal, tool, arguments, is_own=sent.is_callers)

    def key(
        self,
        principal: Principal,
        tool: Tool,
        arguments: Mapping[str, Any],
        *,
        is_own: bool = False,
    ) -> Key | None:
        """Under what an answer is kept; None if the tool's answers are not.

        One that `is_own`, given to the caller's own credentials, is the caller's whatever the tool
        says. Files are named by ids, whose contents a user may only read while they are theirs.
        """
        said = tool.definition.declared
        # An answer that a secret was sent for is its owner's, whatever the tool says of it.
        is_bound = tool.definition.takes_files or tool.definition.filled
        if not said.cache_ttl_s or is_bound:
            return None
        whose = "" if said.is_public and not is_own else f"{principal.owner}/{principal.project_id}"
        canonical = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
        digest = blake2b(canonical, digest_size=32).digest()
        return tool.full_name, tool.definition.sha256, whose, digest

    def get(self, key: Key | None) -> Kept | None:
        """The answer that is still good."""
        if key is None or (entry := self._entries.get(key)) is None:
            return None
        if entry.until <= self._clock.monotonic():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.kept

    def put(self, key: Key | None, tool: Tool, kept: Kept) -> None:
        """Keep an answer for as long as the tool says."""
        if key is None or kept.size > _LARGEST:
            return
        if key in self._entries:
            self._drop(key)
        until = self._clock.monotonic() + tool.definition.declared.cache_ttl_s
        self._entries[key] = _Entry(kept, until)
        self.bytes += kept.size + _EXTRA
        while self.bytes > self._most_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        self.bytes -= self._entries.pop(key).kept.size + _EXTRA
