"""The suite's client scenarios against this platform as a client of other people's servers."""

import asyncio
from pathlib import Path

import pytest

from tests.conformance.node.runtime import Node
from tests.conformance.platform import Platform
from tests.conformance.suite import Report, judge_client, scored
from tests.conformance.upstream.answering import answering
from tests.conformance.upstream.scenarios import make_scenarios

# ten seconds, or minutes on a machine that does much else
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
REVISIONS = ("2025-11-25", "2026-07-28")


async def _report(node: Node, platform: Platform, revision: str, folder: Path) -> Report:
    scenarios = await make_scenarios(platform)
    results = folder / revision
    results.mkdir()
    async with answering(folder / f"{revision}.socket", scenarios.run) as command:
        return await judge_client(node, command, revision, results)


async def test_every_scored_scenario_passes(node: Node, platform: Platform, tmp_path: Path) -> None:
    reports = await asyncio.gather(
        *(_report(node, platform, revision, tmp_path) for revision in REVISIONS)
    )
    for revision, report in zip(REVISIONS, reports, strict=True):
        wanted = scored(node, revision, "client")
        assert set(wanted) <= report.checks.keys(), report.finished
        failures = report.failures()
        assert {name: failures[name] for name in wanted if name in failures} == {}
