"""schemathesis over the published OpenAPI: whatever is sent, answers are as declared, never 5xx.

`UAOL_SCHEMATHESIS_EXAMPLES` is the number of examples of each operation and kind, for long runs.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from tests.books import assert_balanced
from tests.surfaces.fastpath.conftest import Far

pytestmark = pytest.mark.anyio
EXAMPLES = int(os.environ.get("UAOL_SCHEMATHESIS_EXAMPLES", "4"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def _of(
    operation: Any, mode: GenerationMode, headers: dict[str, str], found: dict[str, str]
) -> Callable[[], None]:
    """A property: each example is answered as declared. What is not is added to `found`."""

    @hypothesis.seed(20260728)
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def answered(case: Any) -> None:
        response = case.call(headers=headers, timeout=30)
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            said = "; ".join(f"{one.title}: {one.message}" for one in group.exceptions)
            found.setdefault(
                f"{operation.label} ({mode.value})", f"{said}\n{case.as_curl_command()}"
            )

    return answered


def _run(url: str, headers: dict[str, str]) -> dict[str, str]:
    """What is wrong, by operation."""
    schema = schemathesis.openapi.from_url(f"{url}/v1/openapi.json")
    found: dict[str, str] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _of(operation, mode, headers, found)()
            except hypothesis.errors.Unsatisfiable:
                # An operation without parameters has nothing that could be wrong.
                continue
    return found


@pytest.mark.timeout(300 + 60 * EXAMPLES)
async def test_every_answer_is_as_declared(far: Far) -> None:
    headers = dict(far.world.alice.headers)
    found = await asyncio.to_thread(_run, far.url, headers)
    assert found == {}, "\n\n".join(f"{name}\n{said}" for name, said in found.items())
    await assert_balanced(far.services.database)
