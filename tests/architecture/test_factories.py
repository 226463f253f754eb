"""A table without a factory, or one that a migration does not know of, does not pass."""

import ast
from pathlib import Path
from uuid import uuid4

import pytest

from app.kernel.db import Database
from app.kernel.principal import SERVICE
from app.kernel.rls import Base
from tests.factories import FACTORIES, create, table

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(each.name for each in Base.metadata.tables.values())


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    plain = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    return plain | {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }


@pytest.mark.parametrize("pattern", ["tests/factories/*.py", "migrations/env.py"])
def test_every_module_with_tables_is_known(pattern: str) -> None:
    files = [path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("app/**/tables.py")]
    modules = {".".join(path.parts) for path in files}
    assert len(modules) >= 18
    assert modules <= set().union(*(_imports(path) for path in ROOT.glob(pattern)))


def test_every_table_has_a_factory() -> None:
    assert set(FACTORIES) == {mapper.class_ for mapper in Base.registry.mappers}


@pytest.mark.no_books("a row of each table, alone")
@pytest.mark.parametrize("name", NAMES)
async def test_a_factory_makes_a_row(name: str, database: Database) -> None:
    async with database.begin(SERVICE) as uow:
        made = await create(uow, name, uuid4())
        rows = (await uow.execute(table(name).select())).mappings().all()
    assert len(rows) == 1
    assert {key: rows[0][key] for key in made} == made
