"""The suite's server scenarios: against our own `/mcp`, and through the gateway.

What our server has no fixture for runs through the gateway, against the registered
everything-server, where every scored scenario of both revisions must pass. The everything-server is
also judged by itself: a failure there would be no finding about the gateway.
"""

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
import yaml

from tests.books import off_books
from tests.conformance.node.runtime import Node
from tests.conformance.platform import Platform
from tests.conformance.suite import EXPECTED_FAILURES, Report, judge_server, scored, unscored

# ten seconds, or minutes on a machine that does much else
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
REVISIONS = ("2025-11-25", "2026-07-28")
TASKS = "tasks-"

# Scenarios about what only the everything-server has, or does on its own endpoint.
WITHOUT_FIXTURE = {
    "completion-complete": "completes an argument of test_prompt_with_arguments",
    "input-required-result-non-tool-request": "gets test_input_required_result_prompt",
    "prompts-get-embedded-resource": "gets test_prompt_with_embedded_resource",
    "prompts-get-simple": "gets test_simple_prompt",
    "prompts-get-with-args": "gets test_prompt_with_arguments",
    "prompts-get-with-image": "gets test_prompt_with_image",
    "resources-read-binary": "reads test://static-binary",
    "resources-read-text": "reads test://static-text",
    "resources-subscribe": "subscribes to test://watched-resource",
    "resources-templates-read": "reads test://template/123/data",
    "resources-unsubscribe": "unsubscribes from test://watched-resource",
    "tools-call-with-logging": "gets the log of the server that is asked",
}
# It changes the tools and prompts of the server that is asked; the rest of it must pass.
STATELESS = "server-stateless"
# Of it only what needs another list of tools and prompts, or another's tools.
OF_OTHERS = {
    "sep-2575-missing-capability-http-400",
    "sep-2575-server-rejects-undeclared-capability",
    "sep-2575-server-sends-prompts-list-changed-on-subscription",
    "sep-2575-server-sends-tools-list-changed-on-subscription",
}


def _scored(node: Node, revision: str) -> list[str]:
    return scored(node, revision, "server")


def _with_tools(node: Node, revision: str) -> list[str]:
    """What a server with tools and tasks can be asked."""
    tasks = [name for name in unscored(node, revision, "server") if name.startswith(TASKS)]
    return [*(name for name in _scored(node, revision) if name not in WITHOUT_FIXTURE), *tasks]


def _assert_passed(report: Report, scenarios: list[str]) -> None:
    missing = set(scenarios) - report.checks.keys()
    assert not missing, f"did not run: {sorted(missing)}\n{report.finished}"
    failures = report.failures()
    assert {name: failures[name] for name in scenarios if name in failures} == {}


async def _reports(
    node: Node,
    url: str,
    folder: Path,
    wanted: Callable[[Node, str], list[str]],
    unmet: Collection[str] = (),
) -> dict[str, Report]:
    """Both revisions at once: the suite mostly waits."""
    folders = {revision: folder / revision for revision in REVISIONS}
    for one in folders.values():
        one.mkdir()
    reports = await asyncio.gather(
        *(
            judge_server(node, url, revision, one, wanted(node, revision), unmet)
            for revision, one in folders.items()
        )
    )
    return dict(zip(REVISIONS, reports, strict=True))


async def test_the_fixtures_themselves_pass(node: Node, platform: Platform, tmp_path: Path) -> None:
    reports = await _reports(node, platform.everything, tmp_path, _scored)
    for revision, report in reports.items():
        _assert_passed(report, _scored(node, revision))


async def test_every_scored_scenario_passes_through_the_gateway(
    node: Node, platform: Platform, tmp_path: Path
) -> None:
    reports = await _reports(node, platform.through, tmp_path, _scored)
    for revision, report in reports.items():
        _assert_passed(report, _scored(node, revision))


async def test_our_own_server_passes_with_tools_of_the_registry(
    node: Node, platform: Platform, tmp_path: Path
) -> None:
    reports = await _reports(node, platform.plain, tmp_path, _with_tools, OF_OTHERS)
    for revision, report in reports.items():
        _assert_passed(report, [name for name in _with_tools(node, revision) if name != STATELESS])
        assert report.failures(OF_OTHERS).get(STATELESS, []) == []


async def test_what_has_no_fixture_is_in_the_suite(node: Node) -> None:
    known = {name for revision in REVISIONS for name in _scored(node, revision)}
    assert {*WITHOUT_FIXTURE, STATELESS} <= known


def test_no_failure_is_expected() -> None:
    expected = yaml.safe_load(EXPECTED_FAILURES.read_text())
    assert expected == {"server": [], "client": []}


async def test_the_books_balance_after_it_all(platform: Platform) -> None:
    assert off_books(platform.books) == []
