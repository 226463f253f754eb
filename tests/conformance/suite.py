"""Runs the suite's command and reads what it found."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.node.runtime import Finished, Node

PACKAGE = "@modelcontextprotocol/conformance"
EXPECTED_FAILURES = Path(__file__).with_name("expected_failures.yml")
_MOMENT = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")
_AGAIN = 4
_BAD = frozenset({"FAILURE", "WARNING"})


@dataclass(frozen=True)
class Report:
    """What each scenario's checks said; a scenario is known by its name in the suite."""

    finished: Finished
    checks: dict[str, list[dict[str, Any]]]

    def failures(self, unmet: Collection[str] = ()) -> dict[str, list[str]]:
        """Scenario: its checks that failed, but for `unmet` ones, each with the suite's words."""
        found = {
            scenario: [
                _said(check)
                for check in checks
                if check["status"] in _BAD and check["id"] not in unmet
            ]
            for scenario, checks in self.checks.items()
        }
        return {scenario: said for scenario, said in found.items() if said}

    def passed(self) -> int:
        """How many checks succeeded."""
        return sum(
            check["status"] == "SUCCESS" for checks in self.checks.values() for check in checks
        )


def _said(check: dict[str, Any]) -> str:
    return f"{check['id']}: {check.get('errorMessage') or check.get('description')}"


def scored(node: Node, revision: str, leg: str) -> list[str]:
    """The scenarios a revision requires, in the suite's own list. `leg`: `server` or `client`."""
    folder = node.folder / "node_modules" / PACKAGE / "requirements"
    return list(yaml.safe_load((folder / f"{revision}.yaml").read_text())[leg])


def unscored(node: Node, revision: str, leg: str) -> list[str]:
    """The scenarios that run with a revision and do not count: extensions and pending ones."""
    folder = node.folder / "node_modules" / PACKAGE / "requirements"
    entries = yaml.safe_load((folder / f"{revision}.yaml").read_text())["not_scored"]
    return [entry["scenario"] for entry in entries if entry["leg"] == leg]


async def judge_server(
    node: Node,
    url: str,
    revision: str,
    folder: Path,
    wanted: Collection[str],
    unmet: Collection[str] = (),
) -> Report:
    """All scenarios of a revision against the server at `url`.

    It is to pass those that are `wanted`, but for the checks `unmet`.
    """
    return await _judge(node, ("server", "--url", url), revision, folder, wanted, unmet)


async def judge_client(node: Node, command: str, revision: str, folder: Path) -> Report:
    """All scenarios of a revision against a client that `command` starts."""
    arguments = ("client", "--command", command, "--timeout", "90000")
    return await _judge(node, arguments, revision, folder, scored(node, revision, "client"))


async def _judge(
    node: Node,
    arguments: tuple[str, ...],
    revision: str,
    folder: Path,
    wanted: Collection[str],
    unmet: Collection[str] = (),
) -> Report:
    """Run them all, then each of the wanted ones that failed once more by itself.

    The suite gives a server half a second in places; a machine that runs other tests beside it may
    need longer. What fails by itself fails.
    """
    report = await _run(node, (*arguments, "--requirements", revision), folder)
    for scenario in sorted(report.failures(unmet).keys() & set(wanted))[:_AGAIN]:
        again = folder / f"again-{scenario.replace('/', '-')}"
        again.mkdir()
        one = (*arguments, "--spec-version", revision, "--scenario", scenario)
        report.checks.update((await _run(node, one, again)).checks)
    return report


async def _run(node: Node, arguments: tuple[str, ...], folder: Path) -> Report:
    finished = await node.run(
        node.program(PACKAGE),
        *arguments,
        "--expected-failures",
        EXPECTED_FAILURES,
        "-o",
        folder,
        cwd=folder,
    )
    return Report(finished, _read(folder, "server-" if arguments[0] == "server" else ""))


def _read(folder: Path, prefix: str) -> dict[str, list[dict[str, Any]]]:
    """The checks by scenario: `server-tools-list-2026-11-22T10-00-00-000Z` is of `tools-list`."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.rglob("checks.json")):
        name = str(path.parent.relative_to(folder)).removeprefix(prefix)
        found[_MOMENT.sub("", name)] = json.loads(path.read_text())
    return found
