"""What a run's input lacks, asked of its caller before there is a run: nothing is held meanwhile.

Only clients of 2026-07-28 are asked: their call ends with the form, and they call again with it.
"""

from collections.abc import Mapping
from typing import Any

from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.live.connections import is_modern
from app.surfaces.mcp.live.elicitation import METHOD, Form, can_be_asked
from app.surfaces.mcp.results import Result

_KEY = "input"


def filled(call: Call, given: Any) -> Any:
    """The input with what the caller filled in on being asked."""
    answer = call.responses.get(_KEY)
    if not isinstance(answer, Mapping) or answer.get("action") != "accept":
        return given
    content = answer.get("content")
    if not isinstance(content, Mapping) or not isinstance(given, dict | None):
        return given
    return dict(content) | (given or {})


def ask_for(call: Call, schema: Mapping[str, Any] | None, given: Any) -> Result | None:
    """The question for what `given` lacks; None if nothing does that a form can ask for.

    Nobody is asked twice: who did not say it is told what is wrong with the input.
    """
    lacking = None if schema is None else _lacking(schema, given)
    is_askable = is_modern(call.context) and can_be_asked(call.context)
    if lacking is None or not is_askable or _KEY in call.responses:
        return None
    form = Form.of(lacking)
    if form.shape != "object":
        return None
    message = f"The run needs {', '.join(lacking['required'])}."
    asked = {"mode": "form", "message": message, "requestedSchema": form.schema}
    return {
        "resultType": "input_required",
        "inputRequests": {_KEY: {"method": METHOD, "params": asked}},
    }


def _lacking(schema: Mapping[str, Any], given: Any) -> dict[str, Any] | None:
    """The part of an object's schema that says what is required and was not given."""
    fields, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(given, dict | None):
        return None
    names = [name for name in required if name not in (given or {})]
    if not names or not set(names) <= fields.keys():
        return None
    return {
        "type": "object",
        "properties": {name: fields[name] for name in names},
        "required": names,
    }
