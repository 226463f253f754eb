"""A second opinion in the sandbox: a small script counts the chosen guides' close sites again."""

import hashlib
import json
from importlib.resources import files

from app.agents.types import JSON, Check, RoleContext
from app.kernel.errors import AppError, Code

NAME = "isolated_recount"
_STATEMENT = (
    "A stand-alone script in the sandbox, which shares no code with the other counters, finds "
    "each guide in the record, and no other NGG site with fewer than two mismatches."
)


def script() -> str:
    """The script's source, as it is run."""
    return files("app.agents.knockout").joinpath("recount_script.py").read_text("utf-8")


def script_sha256() -> str:
    """SHA-256 (hex) of the script's source."""
    return hashlib.sha256(script().encode()).hexdigest()


async def recount(ctx: RoleContext, record: str, guides: list[JSON]) -> Check:
    """Run it. Where code cannot be isolated the check is `not_run`, and says why."""
    asked = [{key: one[key] for key in ("id", "spacer", "strand", "start")} for one in guides]
    call = f"\nmain('/task/input/record', json.loads({json.dumps(json.dumps(asked))}))\n"
    arguments = {"code": script() + call, "input_files": [{"name": "record", "file_id": record}]}
    try:
        answer = await ctx.call("sandbox.run_python", arguments)
    except AppError as error:
        if error.code is not Code.SANDBOX_UNAVAILABLE:
            raise
        return Check(NAME, "not_run", _STATEMENT, {}, f"{error.code.value}: {error.message}")
    return _judge(answer, len(asked))


def _judge(answer: JSON, expected: int) -> Check:
    figures: JSON = {"script_sha256": script_sha256(), "executor": answer.get("executor")}
    if answer["status"] != "ok":
        reason = f"the script ended with {answer['status']}: {answer.get('stderr', '')[-500:]}"
        return Check(NAME, "failed", _STATEMENT, figures, reason)
    said = json.loads(answer["stdout"])
    rows = said["guides"]
    figures |= {"record_length": said["length"], "guides": rows}
    bad = {row["id"]: _fault(row) for row in rows if _fault(row)}
    if not bad and len(rows) == expected:
        return Check(NAME, "passed", _STATEMENT, figures)
    reason = "; ".join(f"{guide}: {why}" for guide, why in bad.items()) or "guides are missing"
    return Check(NAME, "failed", _STATEMENT, figures, reason, list(bad))


def _fault(row: JSON) -> str:
    if not row["own_site_found"]:
        return "is not at its place in the record"
    if row["perfect"] or row["one_mismatch"]:
        return f"{row['perfect']} perfect, {row['one_mismatch']} one-mismatch elsewhere"
    return ""
