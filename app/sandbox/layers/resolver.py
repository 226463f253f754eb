"""Asks `uv` which wheels a set of requirements comes to. Nothing is built, nothing is run.

`uv` gets names and versions on its standard input, an environment of our own making and no
configuration, and it may use wheels only, so that no package's code runs. It keeps no cache:
nothing that one user's request left behind can meet another's. It is asked twice: which versions,
and then, for what the wheelhouse lacks, which files of the index. It is never asked for hashes of
local files, as it would unpack them, here, without limits.
"""

import asyncio
import contextlib
import hashlib
import logging
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.kernel.errors import AppError
from app.sandbox.layers.choosing import index_wheels, local_wheel, read_pins
from app.sandbox.layers.lock import Lock, Wheel
from app.sandbox.layers.refusals import failed, refused, unknown
from app.sandbox.layers.requirements import Wanted
from app.sandbox.layers.sizes import LayerLimits
from app.sandbox.layers.sources import Sources
from app.sandbox.layers.standins import stand_ins
from app.sandbox.layers.target import Target

_log = logging.getLogger(__name__)
_OPTIONS = (
    "pip", "compile", "-", "--only-binary", ":all:", "--no-config", "--no-cache",
    "--no-python-downloads", "--keyring-provider", "disabled", "--no-header", "--no-annotate",
    "--no-progress", "--color", "never",
)  # fmt: skip
_CEILINGS = (
    (resource.RLIMIT_CPU, 120), (resource.RLIMIT_FSIZE, 256 * 2**20),
    (resource.RLIMIT_AS, 4 * 2**30), (resource.RLIMIT_CORE, 0),
)  # fmt: skip
# Anybody may ask for anything, and each answer costs a process.
_AT_ONCE = 4
_UNREACHABLE = ("Failed to fetch", "Request failed", "error sending request", "HTTP status")
_SHOWN = 1500


@dataclass(frozen=True)
class Question:
    """What is missing, on top of what, and where it is to run."""

    missing: tuple[Wanted, ...]
    installed: Mapping[str, str]
    target: Target


class Resolver:
    """Turns requirements into a lock."""

    def __init__(self, folder: Path, sources: Sources, limits: LayerLimits) -> None:
        """`folder` holds the stand-ins."""
        self._folder = folder
        self._sources = sources
        self._limits = limits
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def resolve(self, question: Question) -> Lock:
        """The wheels that are needed on top of what is installed, with their hashes.

        Raises AppError: SANDBOX_REQUIREMENT_UNKNOWN, SANDBOX_REQUIREMENT_REFUSED, SANDBOX_FAILED.
        """
        async with self._turns:
            return await self._resolved(question)

    async def _resolved(self, question: Question) -> Lock:
        pins = await self._versions(question)
        added = {name: pins[name] for name in pins if name not in question.installed}
        if len(added) > self._limits.wheels:
            why = f"it takes more than {self._limits.wheels} packages"
            raise refused(_names(question), why)
        wheels = await asyncio.to_thread(self._local, added, question.target)
        remote = [f"{name}=={added[name]}" for name in added if name not in wheels]
        found = [*wheels.values(), *await self._files(remote, question)]
        return Lock(question.target, tuple(sorted(found, key=lambda wheel: wheel.name)))

    async def _versions(self, question: Question) -> dict[str, str]:
        folder, pins = await asyncio.to_thread(stand_ins, self._folder, question.installed)
        with tempfile.TemporaryDirectory(prefix="uaol-resolve-") as scratch:
            Path(scratch, "pins.txt").write_text(pins, encoding="ascii")
            options = ["--format", "requirements.txt", "--constraints", f"{scratch}/pins.txt"]
            options += ["--find-links", str(folder), *self._sources.options()]
            asked = [wanted.line for wanted in question.missing]
            out = await self._answer(asked, options, question, scratch)
        try:
            return read_pins(out)
        except ValueError as error:
            raise failed("the resolver's answer cannot be read") from error

    def _local(self, added: Mapping[str, str], target: Target) -> dict[str, Wheel]:
        ranks, files = target.tags(), self._sources.wheels()
        found = (local_wheel(name, version, files, ranks) for name, version in added.items())
        return {wheel.name: _hashed(wheel) for wheel in found if wheel is not None}

    async def _files(self, remote: Sequence[str], question: Question) -> list[Wheel]:
        if not remote:
            return []
        options = ["--format", "pylock.toml", "--no-deps"]
        with tempfile.TemporaryDirectory(prefix="uaol-resolve-") as scratch:
            out = await self._answer(remote, options, question, scratch)
        try:
            return index_wheels(out, question.target.tags())
        except (ValueError, KeyError) as error:
            raise failed("the resolver's answer cannot be read") from error

    async def _answer(
        self, asked: Sequence[str], options: Sequence[str], question: Question, scratch: str
    ) -> str:
        target = question.target
        aim = ["--python", sys.executable, "--python-version", target.python]
        command = [find_uv(), *_OPTIONS, *aim, "--python-platform", target.platform, *options]
        try:
            async with asyncio.timeout(self._limits.resolve_s):
                status, out, complaint = await self._ask(command, "\n".join(asked), scratch)
        except TimeoutError as error:
            raise failed(f"no answer within {self._limits.resolve_s:.0f} seconds") from error
        if status:
            raise self._refusal(complaint, question)
        return out

    async def _ask(self, command: list[str], asked: str, scratch: str) -> tuple[int, str, str]:
        """Exit status, answer and complaint of the program."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": scratch, "TMPDIR": scratch, "LANG": "C"}
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=scratch,
                env=environment | self._sources.environment(), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise failed("uv cannot be started") from error
        try:
            _confine(process.pid)
            out, complaint = await process.communicate(asked.encode())
        finally:
            await _end(process)
        return process.returncode or 0, out.decode(), complaint.decode(errors="replace")

    def _refusal(self, complaint: str, question: Question) -> AppError:
        told = " ".join(self._sources.redacted(complaint.partition("hint:")[0]).split())[-_SHOWN:]
        if "invalid package format" in complaint:
            why = "its wheel, or one that it needs, is not what its name says"
            return refused(_names(question), why)
        if "No solution found" in complaint:
            why = told.partition("resolving dependencies")[2].strip(" :").removeprefix("cause: ")
            return unknown(question.missing, question.installed, self._sources, why)
        _log.warning("the resolver failed", extra={"reason": told})
        if any(word in complaint for word in _UNREACHABLE):
            return failed("the package index does not answer as it should")
        return refused(_names(question), "its wheel, or one that it needs, cannot be read")


def find_uv() -> str:
    """The program of the `uv` wheel. Raises AppError(SANDBOX_FAILED) where it is missing."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        raise failed("uv is not installed") from error


def _confine(pid: int) -> None:
    """Bound what the process may use; one that has ended already needs no bounds."""
    if not hasattr(resource, "prlimit"):  # macOS, with the docker executor
        return
    with contextlib.suppress(ProcessLookupError):
        for kind, most in _CEILINGS:
            resource.prlimit(pid, kind, (most, most))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _names(question: Question) -> str:
    return ", ".join(wanted.line for wanted in question.missing)


def _hashed(wheel: Wheel) -> Wheel:
    """The same with the hash of the file as it is now."""
    with Path(wheel.location).open("rb") as file:
        return replace(wheel, sha256=hashlib.file_digest(file, "sha256").hexdigest())
