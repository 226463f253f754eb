"""`uaol retention` over a database of its own."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app.cli import main
from app.kernel.settings import load_settings
from tests.orchestration.retention.conftest import TABLES, Keeper

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _surroundings(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("UAOL_HOME", str(tmp_path))
    monkeypatch.setenv("UAOL_RETENTION_DAYS", "30")
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


async def _uaol(*arguments: str) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, main, ["retention", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_it_shows_what_is_due_and_drops_it(keeper: Keeper) -> None:
    keeper.end_past(33)
    old, young = await keeper.job(keeper.ago(60)), await keeper.job(keeper.ago(1))
    found = json.loads(await _uaol("--json"))
    due = {one["name"] for one in found["partitions"] if one["is_due"]}
    assert {f"{table}_past" for table in TABLES} < due
    assert found["applied"] is None
    assert "due to be dropped" in await _uaol()
    assert keeper.where("processing_jobs", old) == ["processing_jobs_past"]
    done = json.loads(await _uaol("--apply", "--json"))
    assert set(done["applied"]["dropped"]) == due
    assert not any(one["is_due"] for one in done["partitions"])
    assert keeper.where("processing_jobs", old) == []
    assert keeper.where("processing_jobs", young) == [f"processing_jobs_p{keeper.ago(1):%Y%m%d}"]
    assert "0 made, 0 dropped" in await _uaol("--apply")
