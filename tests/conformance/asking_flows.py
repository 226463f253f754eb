"""The fixtures of the tasks suite that stop to ask, as workflows: here those ask people.

A tool of the registry is called once and answers; what waits for a person is a workflow's approval,
and what is asked before there is a task is what a run's input lacks.
"""

from typing import Any

_WAIT_S = 600


def _asks(title: str) -> dict[str, Any]:
    """A step that waits for a form; the suite fills both of its fields, or one."""
    properties = {"name": {"type": "string"}, "confirm": {"type": "boolean"}}
    form = {"type": "object", "properties": properties, "required": ["confirm"]}
    return {"wait": {"approval": {"title": title, "form": form, "timeout_s": _WAIT_S}}}


def _flow(title: str, **nodes: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"filename": {"type": "string"}}}
    return {"workflow": 1, "title": title, "input_schema": schema, "nodes": nodes}


FLOWS = {
    "confirm_delete": _flow("Asks once", confirm=_asks("Delete ${{ input.filename }}?")),
    "multi_input": _flow("Asks twice at once", first=_asks("The first?"), second=_asks("And?")),
}


FLOWS["test_tool_with_task"] = {
    "workflow": 1,
    "title": "Asks for its input",
    "input_schema": {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
    },
    "nodes": {"pause": {"wait": {"seconds": 0}}},
    "output": "Hello ${{ input.name }}",
}


def run_of(name: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The call of `workflow.run` that does what the fixture of that name does."""
    return "workflow.run", {"workflow": FLOWS[name], "input": arguments}
