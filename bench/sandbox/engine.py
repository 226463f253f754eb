"""Docker beside `docker run`, and beside llm-sandbox on the same image."""

import asyncio
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.sandbox.executors.docker import docker_backend
from bench.sandbox.stage import (
    PANDAS,
    SMALL,
    BenchError,
    Options,
    both,
    filled,
    in_turn,
    kept_warm,
    never_warm,
    plain,
    run_warm,
)

Found = dict[str, Any]
_ROOT = Path(__file__).resolve().parents[2]
_PEER = _ROOT / ".venv-bench-llmsandbox" / "bin" / "python"
_PEER_S = 1200.0


async def docker(options: Options, _before: Mapping[str, Any]) -> Found:
    """Cold with all hardening and the removal, and warm, in turn with `docker run`."""
    image = (await _known()).image
    command = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "python3", image)

    async def by_hand() -> float:
        return await asyncio.to_thread(plain, *command, "-I", "-c", SMALL)

    async with never_warm(docker_backend()) as cold, kept_warm(docker_backend()) as warm:
        spans = await in_turn(
            {
                "docker_run": by_hand,
                "docker_cold": lambda: cold.run(SMALL),
                "docker_warm": lambda: run_warm(warm, PANDAS),
                "docker_warm_empty": lambda: run_warm(warm, SMALL),
            },
            options.runs,
            lambda: filled(warm, 2),
        )
    found: Found = {}
    for name, each in spans.items():
        found |= both(name, each)
    return found | {
        "docker_cold_over_docker_run": found["docker_cold_ms"] / found["docker_run_ms"],
        "docker_warm_over_docker_run": found["docker_warm_ms"] / found["docker_run_ms"],
        "docker_cold_p95_over_docker_run": found["docker_cold_p95_ms"] / found["docker_run_ms"],
        "docker_warm_p95_over_docker_run": found["docker_warm_p95_ms"] / found["docker_run_ms"],
    }


async def _known() -> Any:
    backend = docker_backend()
    try:
        return await backend.capabilities()
    finally:
        await backend.close()


async def llm_sandbox(options: Options, before: Mapping[str, Any]) -> Found:
    """Their open and run, on our image, over a fresh warm worker of ours."""
    if not _PEER.exists():
        raise BenchError("not installed: make bench-sandbox-install")
    if "docker_warm_ms" not in before:
        raise BenchError("needs the figure `docker` of the same run")
    image = (await _known()).image
    command = [str(_PEER), "-m", "bench.sandbox.llm_sandbox_peer", image, str(options.runs)]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=_PEER_S, cwd=_ROOT
    )
    if done.returncode:
        raise BenchError(f"llm-sandbox failed: {done.stderr[-500:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    found: Found = {"llm_sandbox_version": told["version"]}
    for name in ("cold", "in_session", "close"):
        found |= both(f"llm_sandbox_{name}", told[name])
    theirs = found["llm_sandbox_cold_ms"]
    return found | {
        "vs_llm_sandbox_cold": theirs / before["docker_warm_ms"],
        "vs_llm_sandbox_cold_by_our_cold": theirs / before["docker_cold_ms"],
        "vs_llm_sandbox_in_session": found["llm_sandbox_in_session_ms"] / before["docker_warm_ms"],
    }
