"""Alembic's environment: the metadata of every module, and row-level security on new tables."""

from typing import Any

from alembic import context
from alembic.operations.ops import CreateTableOp, ExecuteSQLOp, MigrationScript
from sqlalchemy import MetaData, NullPool, create_engine, text

from app.kernel.rls import PARTITION, SCHEMA, Base, statements


def _metadata() -> MetaData:
    """The declared tables of every module; only a new revision needs them, an upgrade does not."""
    import app.agents.tables
    import app.auth.tables
    import app.billing.blocks.tables
    import app.billing.tables
    import app.billing.usage.tables
    import app.kernel.tables
    import app.orchestration.limits.tables
    import app.orchestration.operations.tables
    import app.orchestration.tables
    import app.orchestration.webhooks.tables
    import app.orchestration.workflow.library.tables
    import app.orchestration.workflow.tables
    import app.proxy.oauth.tables
    import app.registry.discovery.tables
    import app.registry.servers.tables
    import app.registry.tables
    import app.storage.tables
    import app.vault.tables  # noqa: F401

    return Base.metadata


def _protect(_context: Any, _revision: Any, directives: list[MigrationScript]) -> None:
    """Write each new table's declared policy into the revision."""
    for script in directives:
        assert script.upgrade_ops is not None
        ops: list[Any] = []
        for op in script.upgrade_ops.ops:
            ops.append(op)
            if isinstance(op, CreateTableOp):
                table = Base.metadata.tables[f"{SCHEMA}.{op.table_name}"]
                ops += [ExecuteSQLOp(sql) for sql in statements(table)]
        script.upgrade_ops.ops = ops


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "schema" or name == SCHEMA


def _is_declared(_item: Any, name: str | None, kind: str, is_reflected: bool, _like: Any) -> bool:
    """Partitions come and go without a revision."""
    return not (kind == "table" and is_reflected and PARTITION.search(name or ""))


def run() -> None:
    """Upgrade or compare, as Alembic's command asks."""
    config = context.config
    engine = create_engine(config.attributes["dsn"], poolclass=NullPool)
    with engine.connect() as conn:
        # Two processes that start at once migrate one after the other.
        conn.execute(text("select pg_advisory_lock(7243120715)"))
        conn.execute(text(f"create schema if not exists {SCHEMA}"))
        conn.commit()
        context.configure(
            connection=conn,
            target_metadata=_metadata() if config.attributes.get("is_comparing") else None,
            version_table_schema=SCHEMA,
            include_schemas=True,
            include_name=_is_ours,
            include_object=_is_declared,
            process_revision_directives=_protect,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
