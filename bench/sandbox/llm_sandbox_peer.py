"""llm-sandbox's own times, in its own environment: `python -m bench.sandbox.llm_sandbox_peer`.

Cold is to open a session and to run in it; setting up an environment inside is switched off, as
the image has all that the code needs. It runs `python` as the user `root`, so it gets our image
with these two names added, and a command that waits. Closing takes a grace period of ten
seconds, so the sessions are closed side by side, and that time is in no other one. The last line
is one JSON object of lists of seconds.
"""

import importlib.metadata
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
from llm_sandbox import SandboxSession

_SAME_TIME = 10
_CODE = "print(1)"
_ADAPTED = "uaol-bench-llm-sandbox"
_ADDED = "ln -s python3 /usr/bin/python && echo root:x:0:0:root:/:/bin/sh >> /etc/passwd"


def cold(image: str) -> tuple[Any, float, float]:
    """A new session, with the seconds until its first result and those of a second run."""
    began = time.perf_counter()
    session = SandboxSession(
        lang="python",
        image=image,
        skip_environment_setup=True,
        runtime_configs={"command": ["sleep", "3600"]},
    )
    try:
        session.open()
        _run(session)
        opened = time.perf_counter()
        _run(session)
    except BaseException:
        session.close()
        raise
    return session, opened - began, time.perf_counter() - opened


def _run(session: Any) -> None:
    done = session.run(_CODE)
    if done.exit_code or done.stdout.strip() != "1":
        raise SystemExit(f"{done.exit_code}: {done.stdout} {done.stderr}")


def close(session: Any) -> float:
    """Seconds to close a session."""
    began = time.perf_counter()
    session.close()
    return time.perf_counter() - began


def adapted(engine: Any, image: str) -> str:
    """The image with the names that they need; nothing else of it is changed."""
    container = engine.containers.create(image, ["sh", "-c", _ADDED], network_mode="none")
    try:
        container.start()
        if container.wait()["StatusCode"]:
            raise SystemExit("the image could not be adapted")
        container.commit(_ADAPTED)
    finally:
        container.remove(force=True)
    return _ADAPTED


def measure(image: str, runs: int) -> dict[str, list[float]]:
    """The spans of so many sessions, after one that is left out."""
    spans: dict[str, list[float]] = {"cold": [], "in_session": [], "close": []}
    waiting: list[Any] = []
    for number in range(runs + 1):
        session, first, second = cold(image)
        waiting.append(session)
        if number:
            spans["cold"].append(first)
            spans["in_session"].append(second)
        if len(waiting) == _SAME_TIME or number == runs:
            with ThreadPoolExecutor(_SAME_TIME) as threads:
                spans["close"] += threads.map(close, waiting)
            waiting = []
    return spans


def main() -> None:
    """The arguments are an image and a number of runs."""
    engine = docker.from_env()
    image = adapted(engine, sys.argv[1])
    try:
        spans = measure(image, int(sys.argv[2]))
    finally:
        engine.images.remove(image, force=True)
    print(json.dumps({"version": importlib.metadata.version("llm-sandbox"), **spans}))


if __name__ == "__main__":
    main()
