"""Runs Node programs of the installed packages and says how they ended."""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True)
class Finished:
    """How a program ended."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


@dataclass(frozen=True)
class Node:
    """Node and a folder with `node_modules`."""

    binary: Path
    folder: Path

    def program(self, package: str, name: str | None = None) -> Path:
        """The script behind a package's command."""
        home = self.folder / "node_modules" / package
        commands = json.loads((home / "package.json").read_text())["bin"]
        if isinstance(commands, str):
            return home / commands
        return home / (commands[name] if name else next(iter(commands.values())))

    async def run(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        seconds: float = 240,
    ) -> Finished:
        """Run a script to its end. Raises `TimeoutError`, with the program killed."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            self.binary,
            *arguments,
            cwd=cwd or self.folder,
            env=kept | dict(env or {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(seconds):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Finished(process.returncode, out.decode(), err.decode())
