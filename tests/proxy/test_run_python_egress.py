"""`sandbox.run_python` tells where the code went, summed."""

from dataclasses import replace

import pytest

from app.sandbox import EgressCall
from tests.proxy.harness import World
from tests.proxy.test_run_python import Played, called, sandbox, world

__all__ = ["sandbox", "world"]
pytestmark = pytest.mark.anyio


async def test_calls_of_the_code_are_in_the_answer(world: World, sandbox: Played) -> None:
    call = EgressCall("rest.uniprot.org", 443, 100, 2000, 30, "allowed")
    refused = EgressCall("evil.example", 443, 0, 0, 1, "refused", "host_not_allowed")
    sandbox.result = replace(sandbox.result, egress=(call, call, refused))
    answer = await called(world, egress="bio")
    assert sandbox.specs[0].egress == "bio"
    assert [(row["host"], row["verdict"], row["calls"]) for row in answer["egress"]] == [
        ("rest.uniprot.org", "allowed", 2),
        ("evil.example", "refused", 1),
    ]
    assert answer["egress"][0]["bytes_down"] == 4000


async def test_code_without_egress_has_none(world: World) -> None:
    assert (await called(world))["egress"] == []
