"""Workflows for the tests of the doors."""

from typing import Any

import httpx2

from tests.surfaces.test_http_jobs import ended

JSON = dict[str, Any]


def say(word: Any, *after: str, tool: str = "words.say", **more: Any) -> JSON:
    """A step that calls a tool with a word."""
    return {"tool": tool, "arguments": {"word": word}, "after": list(after), **more}


def flow(output: Any = None, **nodes: JSON) -> JSON:
    """A definition."""
    return {"workflow": 1, "nodes": nodes, **({} if output is None else {"output": output})}


ECHOED = flow(
    "${{ steps.second.output.said }}",
    first=say("${{ input.word }}"),
    second=say("${{ steps.first.output.said }}!"),
)


async def start(http: httpx2.AsyncClient, workflow: Any, given: Any = None, **more: Any) -> JSON:
    """A run that was accepted."""
    body = {"workflow": workflow, "input": given, **more}
    response = await http.post("/v1/workflows/runs", json=body)
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/v1/jobs/{response.json()['job_id']}"
    return dict(response.json())


async def ran(http: httpx2.AsyncClient, workflow: Any, given: Any = None, **more: Any) -> JSON:
    """A run to its end."""
    return await ended(http, await start(http, workflow, given, **more))


async def steps(http: httpx2.AsyncClient, job: JSON, **query: Any) -> JSON:
    """The steps of a run by path; the whole answer under the empty name."""
    response = await http.get(f"/v1/jobs/{job['job_id']}/steps", params=query)
    assert response.status_code == 200, response.text
    body = dict(response.json())
    return {"": body} | {step["path"]: step for step in body["steps"]}


def states(found: JSON) -> dict[str, str]:
    """The state of each step."""
    return {path: step["state"] for path, step in found.items() if path}
