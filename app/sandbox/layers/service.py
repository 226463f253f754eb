"""Which folders a set of requirements takes: nothing, or one layer, built if it is not there."""

import asyncio
import errno
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.kernel.errors import AppError, Code
from app.kernel.whole import whole
from app.sandbox.layers.fetching import fetch
from app.sandbox.layers.filelock import lock as locked
from app.sandbox.layers.flights import Flights, Say
from app.sandbox.layers.installing import install
from app.sandbox.layers.lock import Lock
from app.sandbox.layers.missing import missing
from app.sandbox.layers.refusals import failed, unfinished, unknown
from app.sandbox.layers.requirements import Wanted, read_requirements
from app.sandbox.layers.resolver import Question, Resolver
from app.sandbox.layers.shelf import Shelf
from app.sandbox.layers.sizes import LayerLimits
from app.sandbox.layers.sources import Sources
from app.sandbox.layers.target import Run, Target, probe
from app.sandbox.links import Mounted
from app.sandbox.types import Capabilities

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What a room needs for a set of requirements; empty where all of it is installed.

    The layer stays on disk for as long as anybody holds one of the `mounts`.
    """

    mounts: tuple[Mounted, ...] = ()
    sites: tuple[str, ...] = ()
    id: str = ""


class Layers:
    """Resolves requirements, and builds each layer once over all processes of a home."""

    def __init__(self, folder: Path, sources: Sources, limits: LayerLimits | None = None) -> None:
        """`folder` holds the layers and what belongs to them; it is made when it is needed."""
        self._limits = limits or LayerLimits()
        self._sources = sources
        self._shelf = Shelf(folder.expanduser().resolve(), self._limits)
        self._resolver = Resolver(self._shelf.folder / "stand-ins", sources, self._limits)
        self._targets: dict[tuple[str, str, str], Target] = {}
        self._probes: Flights[Target] = Flights()
        self._locks: Flights[Lock] = Flights()
        self._builds: Flights[Mounted] = Flights()
        self._one_build = asyncio.Semaphore()
        self._run: Run | None = None
        self._is_tidy = False

    def build_with(self, run: Run) -> None:
        """Name the executor in whose sandbox layers are built, and for whose Python."""
        self._run = run

    async def room_for(
        self, requirements: Sequence[str], capabilities: Capabilities, told: Say | None = None
    ) -> Prepared:
        """The mounts and folders of `sys.path` for these requirements; `told` hears of progress.

        Raises AppError: INVALID_INPUT for what is not a name with versions;
        SANDBOX_REQUIREMENT_UNKNOWN for what is neither installed nor to be had;
        SANDBOX_REQUIREMENT_REFUSED for a package that is broken, too large or of another
        platform; SANDBOX_FAILED or STORAGE_FULL for what may pass. Raises IsolationError.
        """
        wanted = read_requirements(requirements, capabilities.python)
        lacking = missing(wanted, capabilities.distributions, self._sources)
        if not lacking:
            return Prepared()
        try:
            async with asyncio.timeout(self._limits.patience_s):
                lock = await self._lock_of(lacking, capabilities, told)
                mounted = await self._builds.join(lock.id, lambda say: self._layer(lock, say), told)
        except TimeoutError as error:
            raise unfinished() from error
        except OSError as error:
            raise _disk_error(error) from error
        return Prepared((mounted,), (mounted.target,), lock.id)

    async def close(self) -> None:
        """End what is being asked, resolved and built."""
        await self._probes.close()
        await self._locks.close()
        await self._builds.close()

    async def _lock_of(
        self, lacking: tuple[Wanted, ...], capabilities: Capabilities, told: Say | None
    ) -> Lock:
        self._shelf.open()
        target = await self._target(capabilities)
        question = Question(lacking, capabilities.distributions, target)
        key = await asyncio.to_thread(self._key, question)
        return await self._locks.join(key, lambda say: self._resolved(key, question, say), told)

    def _refuse_absent(self, question: Question) -> None:
        """Without an index, what no wheel is named after needs no resolver."""
        if not self._sources.index:
            there = {entry.partition("==")[0] for entry in self._sources.names()}
            absent = [one for one in question.missing if one.name not in there]
            if absent:
                raise unknown(absent, question.installed, self._sources)

    def _key(self, question: Question) -> str:
        """Names the question, and all on which its answer depends."""
        facts = [
            [one.line for one in question.missing], sorted(question.installed.items()),
            repr(question.target), self._sources.fingerprint(),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    async def _target(self, capabilities: Capabilities) -> Target:
        key = (capabilities.executor, capabilities.image, capabilities.python)
        if key not in self._targets:
            # of one's own it would end with who asks, and be begun anew by the next
            self._targets[key] = await self._probes.join(
                repr(key), lambda _say: probe(self._runner()), None
            )
        return self._targets[key]

    async def _resolved(self, key: str, question: Question, say: Say) -> Lock:
        longest = self._limits.index_lock_s if self._sources.index else None
        try:
            if (known := self._shelf.resolved(key, longest)) is not None:
                return Lock.of(known)
        except (ValueError, KeyError, TypeError):
            _log.warning("a remembered set of packages cannot be read", extra={"key": key})
        await asyncio.to_thread(self._refuse_absent, question)
        say(f"Resolving {', '.join(one.line for one in question.missing)}")
        lock = await self._resolver.resolve(question)
        self._shelf.remember(key, lock.as_json())
        return lock

    async def _layer(self, lock: Lock, say: Say) -> Mounted:
        if (mounted := self._shelf.lent(lock.id)) is not None:
            return mounted
        try:
            async with asyncio.timeout(self._limits.build_s):
                mounted = await self._found_or_built(lock, say)
                if not self._is_tidy:
                    await self._tidy()
                return mounted
        except TimeoutError as error:
            raise failed(f"it took more than {self._limits.build_s:.0f} seconds") from error

    async def _found_or_built(self, lock: Lock, say: Say) -> Mounted:
        path = self._shelf.lock_path(lock.id)
        while True:
            held = await locked(path, exclusive=False)
            try:
                if await asyncio.to_thread(self._shelf.has, lock.id):
                    return self._shelf.lend(lock.id, held)
            except BaseException:
                held.release()
                raise
            held.release()
            held = await locked(path, exclusive=True)
            try:
                if not await asyncio.to_thread(self._shelf.has, lock.id):
                    async with self._one_build:
                        await self._build(lock, say)
            finally:
                held.release()

    async def _build(self, lock: Lock, say: Say) -> None:
        try:
            draft = await whole(asyncio.to_thread(self._shelf.draft, lock.id))
            for number, wheel in enumerate(lock.wheels, 1):
                say(f"Installing {wheel.name} {wheel.version} ({number} of {len(lock.wheels)})")
                folder, most = self._shelf.scratch(lock.id), self._limits.wheel_bytes
                file = await fetch(wheel, folder, most, self._sources)
                await install(self._runner(), wheel, file, draft, self._limits)
            await whole(asyncio.to_thread(self._shelf.put, draft))
        finally:
            await whole(asyncio.to_thread(self._shelf.drop, lock.id))
        _log.info("a layer was built", extra={"layer": lock.id})
        await self._tidy()

    async def _tidy(self) -> None:
        gone = await asyncio.to_thread(self._shelf.evict)
        self._is_tidy = True
        if gone:
            _log.info("layers were evicted", extra={"layers": gone})

    def _runner(self) -> Run:
        if self._run is None:
            raise failed("no sandbox has been named to build them in")
        return self._run


def _disk_error(error: OSError) -> AppError:
    _log.warning("a layer was not built", extra={"reason": repr(error)})
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Ask the operator to free space."
        return AppError(Code.STORAGE_FULL, "The disk that holds the packages is full.", hint=hint)
    return failed(error.strerror or "this machine did not do as it should")
