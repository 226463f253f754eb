"""Which URIs can be followed."""

from uuid import UUID

import pytest

from app.surfaces.mcp.live.uris import is_growing, job_of

JOB = UUID("5f0a7c1e-2b61-4c3a-9a57-0d9f6f3a1b44")


@pytest.mark.parametrize(
    ("uri", "grows"),
    [
        (f"uaol://jobs/{JOB}", True),
        (f"uaol://jobs/{JOB}/trace", True),
        (f"uaol://jobs/{JOB}/steps", True),
        (f"ui://uaol/job/{JOB}", True),
        (f"uaol://jobs/{JOB}/report", False),
        (f"uaol://jobs/{JOB}/files/a%20b.txt", False),
    ],
)
def test_a_resource_of_a_job(uri: str, grows: bool) -> None:
    assert (job_of(uri), is_growing(uri)) == (JOB, grows)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "uaol://jobs",
        "uaol://jobs/x/trace",
        f"uaol://jobs/{JOB}/trace/more",
        f"uaol://jobs/{JOB}/files",
        f"uaol://jobs/{JOB}/files/a/b",
        f"uaol://jobs/{JOB}/trace?x=1",
        f"uaol://other/{JOB}/trace",
        f"ui://uaol/job/{JOB}/trace",
        f"ui://uaol/{JOB}",
        f"http://jobs/{JOB}/trace",
        f"uaol://jobs/{JOB}/files/\x00",
        f"uaol://jobs/{JOB}/files/{'a' * 2000}",
        "uaol://[/trace",
    ],
)
def test_anything_else_is_none(uri: str) -> None:
    assert job_of(uri) is None
