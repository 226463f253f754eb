"""A plain process on the host: where an attack works, since no wall is there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tests.conftest import cannot_run
from tests.sandbox.abuse.host import CANARY, Host
from tests.sandbox.abuse.prelude import Said, program, said

NOBODY = 65534


def run_plain(code: str, host: Host, params: Mapping[str, Any], user: str = "") -> Said:
    """What the attack says without a wall, run as `user`: root, nobody, or who runs the tests.

    Skips where that user cannot be had. Its output goes to a file: a daemon may hold on to it.
    """
    if user == "root" and os.geteuid() != 0:
        cannot_run("what root may do is shown by root alone")
    drops = user == "nobody" and os.geteuid() == 0
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") if drops else sys.executable
    if python is None:
        cannot_run("there is no Python that another user may run")
    with (host.folder / "stdout").open("w+", encoding="utf-8", errors="replace") as output:
        done = subprocess.run(
            [str(python), "-I", "-"], input=program(code, {"mark": host.mark, **params}),
            stdout=output, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
            env={"UAOL_ABUSE_CANARY": CANARY, "PATH": "/usr/bin:/bin"},
            cwd="/" if drops else host.folder,
            user=NOBODY if drops else None, group=NOBODY if drops else None,
            extra_groups=[] if drops else None,
        )  # fmt: skip
        output.seek(0)
        text = output.read()
    came = said(text)
    assert came.tried, f"exit code {done.returncode}: {text[-2000:]}"
    return came
