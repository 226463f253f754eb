"""The first program of a sandbox's pod: it proves the walls, then becomes the runner.

A pod has a network whether it wants one or not; only a NetworkPolicy takes it away, and a cluster
whose network plugin knows no policies takes nothing away, without a word. So every pod tries to
reach the one address that always answers where nothing stops it, the cluster's own API server,
and leaves if it can. It then takes the system-call filter that it was given, waits for its host
to speak, sheds the environment that the cluster put there, and is replaced by the runner.
Standard library only; it comes with the pod as text, so that it is always the server's version.

Argument: a JSON object with `mode` (`run` or `survey`), `environment`, `filters` (machine to
classic BPF in base64), `argv`, `seconds` (wait for the host), `patience` (wait for the policy),
`connect` (one attempt).
"""

# pathlib would be slow to import
# ruff: noqa: PTH103, PTH123, T201
from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from base64 import b64decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

NO_FACTS, NO_TARGET, NO_FILTER, NOT_SPOKEN_TO, NETWORK_OPEN = 93, 94, 95, 96, 97
FACTS = "/opt/uaol/image.json"
FOLDERS = ("/task/input", "/task/output")
SET_SECCOMP, FILTER_MODE, SET_NO_NEW_PRIVS = 22, 2, 38


def leave(code: int, why: str) -> NoReturn:
    """End the pod with a code that the host knows."""
    print(f"gate: {why}", file=sys.stderr, flush=True)
    os._exit(code)


def target() -> tuple[str, int]:
    """The cluster's API server as every pod is told it."""
    try:
        return os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    except (KeyError, ValueError):
        leave(NO_TARGET, "the pod is not told where the cluster's API server is")


def is_reachable(address: tuple[str, int], seconds: float) -> bool:
    """Whether a connection comes about; a refusal by a policy is as good as silence."""
    try:
        socket.create_connection(address, timeout=seconds).close()
    except OSError:
        return False
    return True


def await_policy(patience: float, connect: float) -> None:
    """Wait until the network is shut; some plugins need a moment for a new pod."""
    address = target()
    deadline = time.monotonic() + patience
    while is_reachable(address, connect):
        if time.monotonic() > deadline:
            leave(NETWORK_OPEN, f"no NetworkPolicy is enforced: {address[0]} can be reached")
        time.sleep(0.2)


def take_filter(filters: dict[str, str]) -> None:
    """Put this process, and all that comes of it, behind the system-call filter."""
    import ctypes

    machine = os.uname().machine
    if machine not in filters:
        leave(NO_FILTER, f"there is no system-call filter for {machine}")
    program = b64decode(filters[machine])

    class Program(ctypes.Structure):
        """`struct sock_fprog` of linux/filter.h."""

        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    given = Program(len(program) // 8, program)
    if libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        SET_SECCOMP, FILTER_MODE, ctypes.byref(given), 0, 0
    ):
        leave(NO_FILTER, f"the system-call filter was refused: {os.strerror(ctypes.get_errno())}")


def await_host(seconds: float) -> None:
    """Wait for the first byte; a pod that nobody speaks to belongs to a host that is gone."""
    ready, _, _ = select.select([0], [], [], seconds)
    if not ready:
        leave(NOT_SPOKEN_TO, "nobody spoke to this sandbox")


def survey() -> str:
    """What the image says of itself; its builder wrote that down."""
    try:
        with open(FACTS, encoding="utf-8") as file:
            return file.read().strip()
    except OSError as error:
        leave(NO_FACTS, f"{FACTS}: {error.strerror}")


def main() -> None:
    """Prove the walls, then survey the image or become the runner."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    await_policy(options["patience"], options["connect"])
    take_filter(options["filters"])
    if options["mode"] == "survey":
        print(survey(), flush=True)
        return
    await_host(options["seconds"])
    for folder in FOLDERS:
        os.makedirs(folder, mode=0o755, exist_ok=True)
    os.chdir(FOLDERS[1])
    os.execve(sys.executable, [sys.executable, *options["argv"]], options["environment"])


if __name__ == "__main__":
    main()
