"""Logs without secrets, metrics without unbounded labels."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.errors import AppError, Code
from app.kernel.telemetry import JsonFormatter, Metrics, configure_logging, request_id, scrub

SECRET = "uaol_" + "aB3-_" * 8 + "xyz"


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


def line(message: str, **extra: object) -> dict[str, Any]:
    record = logging.makeLogRecord({"name": "app.x", "levelname": "INFO", "msg": message, **extra})
    text = JsonFormatter().format(record)
    assert "\n" not in text
    parsed = json.loads(text)
    assert isinstance(parsed, dict)
    return parsed


def test_one_line_a_record_however_often_configured(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    configure_logging("INFO")
    logging.getLogger("app.x").debug("not this")
    logging.getLogger("app.x").info("a\nb %s", "c", extra={"job": 7, "rows": [1, None, "x"]})
    (only,) = capsys.readouterr().err.splitlines()
    body = json.loads(only)
    assert body.pop("ts").endswith("+00:00")
    assert body == {
        "level": "INFO",
        "logger": "app.x",
        "message": "a\nb c",
        "job": 7,
        "rows": [1, None, "x"],
    }


def test_words_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    configure_logging(is_plain=True)
    logging.getLogger("app.x").warning("gone, key %s", SECRET, extra={"reason": SECRET, "job": 7})
    try:
        raise ValueError(f"Bearer {SECRET}")
    except ValueError:
        logging.getLogger("app.x").exception("it broke")
    first, second, *traceback = capsys.readouterr().err.splitlines()
    assert (first, second) == (
        "warning: gone, key uaol_*** (reason: uaol_***, job: 7)",
        "error: it broke",
    )
    assert traceback[0].startswith("Traceback")
    assert SECRET not in "".join(traceback)


def test_words_of_strangers_have_no_say_over_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(is_plain=True)
    hostile = "a\x1b[2J\x9b1A\r\nerror: \u202eall is lost"
    try:
        raise ValueError(hostile)
    except ValueError:
        logging.getLogger("app.x").exception("it says %s", hostile, extra={"reason": hostile})
    told = capsys.readouterr().err
    shown = r"a\x1b[2J\x9b1A\r\nerror: \u202eall is lost"
    assert told.splitlines()[0] == f"error: it says {shown} (reason: {shown})"
    assert all(each.isprintable() for each in told.split("\n"))


def test_an_unknown_level_is_an_error() -> None:
    before = logging.getLogger().handlers[:]
    with pytest.raises(AppError, match="'loud'") as caught:
        configure_logging("loud")
    assert caught.value.code is Code.CONFIG_INVALID
    assert logging.getLogger().handlers == before


def test_the_request_is_named() -> None:
    assert "request_id" not in line("x")
    token = request_id.set("r-1")
    try:
        assert line("x")["request_id"] == "r-1"
    finally:
        request_id.reset(token)


def test_extra_fields_cannot_pose_as_others() -> None:
    assert line("x", level="FAKE", logger="fake")["level"] == "INFO"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"key {SECRET} refused", SECRET),
        ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
        ("sent bearer abc123==", "abc123"),
        ("authorization=Basic dXNlcjpwdw==", "dXNlcjpwdw"),
        ("postgresql://app:s3cret@db:5432/x", "s3cret"),
        ("postgresql+psycopg://app:p@ss/w0rd@db/x", "ss/w0rd"),
        ("host=db password=s3cret dbname=x", "s3cret"),
        ('{"api_key": "s3cret", "a": 1}', "s3cret"),
        ("OPENAI_API_KEY=s3cret", "s3cret"),
        ("GET /v1/files/1?expires=5&signature=abcdef012", "abcdef012"),
        ("sk-" + "ant-" + "aaaabbbb" * 3, "aaaabbbb"),
    ],
)
def test_secrets_are_hidden(text: str, hidden: str) -> None:
    assert hidden not in scrub(text)
    assert "***" in scrub(text)
    assert hidden not in json.dumps(line("%s", args=(text,)))
    assert hidden not in json.dumps(line("x", note=text))
    assert hidden not in json.dumps(line("x", nested={"a": [text]}))


@pytest.mark.parametrize(
    "text",
    [
        "job 0190 took 3 tokens at http://127.0.0.1:8765/v1/jobs",
        "password authentication failed for user app",
        "uaol_postgres_shared_buffers is 256MB",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert scrub(text) == text


def test_secrets_in_tracebacks_and_in_fields_named_so_are_hidden() -> None:
    try:
        raise ValueError(f"bad key {SECRET}")
    except ValueError:
        body = line("failed", exc_info=sys.exc_info(), headers={"Authorization": "x1y2"})
    assert "ValueError: bad key uaol_***" in body["exception"]
    assert body["headers"] == {"Authorization": "***"}


@given(st.text(), st.integers() | st.floats() | st.text(alphabet=st.characters()))
def test_whatever_is_logged_is_one_line_of_json(message: str, value: object) -> None:
    line("%s", args=(message,), value=value)


def test_bytes_that_are_no_text_are_shown_escaped() -> None:
    assert line("x", name_of_file="a\udc80")["name_of_file"] == "a\\udc80"


def test_metrics_show_what_was_observed() -> None:
    metrics = Metrics()
    metrics.observe_http("GET", "/v1/jobs/{job_id}", 200, 0.01)
    metrics.observe_http("BREW", "/v1/jobs/{job_id}", 405, 0.01)
    metrics.observe_tool("crispr.enumerate", "ok", 0.5)
    metrics.observe_job("Success", 12.0)
    metrics.observe_queue(3, 1.5)
    metrics.observe_capture(2_500_000)
    metrics.observe_health(is_hub_up=True, is_sandbox_up=False)
    text = metrics.render().decode()
    for expected in (
        'http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="200"} 1.0',
        'http_requests_total{method="OTHER",route="/v1/jobs/{job_id}",status="405"} 1.0',
        'http_request_seconds_count{route="/v1/jobs/{job_id}"} 2.0',
        'tool_calls_total{outcome="ok",tool="crispr.enumerate"} 1.0',
        'tool_call_seconds_count{tool="crispr.enumerate"} 1.0',
        'jobs_total{status="Success"} 1.0',
        'job_seconds_bucket{le="30.0"} 1.0',
        "queue_depth 3.0",
        "queue_oldest_seconds 1.5",
        "credits_captured_total 2.5",
        "hub_up 1.0",
        "sandbox_up 0.0",
    ):
        assert expected in text.splitlines()


def test_labels_cannot_grow_without_bound() -> None:
    metrics = Metrics()
    for number in range(2000):
        metrics.observe_http("GET", f"/{number}", 404, 0.0)
        metrics.observe_tool(f"t.{number}", "ok", 0.0)
    lines = metrics.render().decode().splitlines()
    assert sum(line.startswith("http_requests_total{") for line in lines) == 201
    assert 'tool_calls_total{outcome="ok",tool="other"} 1500.0' in lines


def test_two_processes_in_one_do_not_share_metrics() -> None:
    first, second = Metrics(), Metrics()
    first.observe_queue(9, 0.0)
    assert b"queue_depth 0.0" in second.render()
