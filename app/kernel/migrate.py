"""Runs the Alembic migrations, the same on the embedded hub and on Supabase."""

from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine

from app.kernel.rls import SCHEMA

_RUNNING = Lock()  # Alembic keeps its environment in global names
MIGRATIONS = Path(__file__).parents[2] / "migrations"


def config(dsn: str) -> Config:
    """Alembic's configuration for one database; `dsn` is the owner's, never a superuser's."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["dsn"] = sqlalchemy_url(dsn)
    return made


def sqlalchemy_url(dsn: str) -> str:
    """SQLAlchemy's form of a libpq URL."""
    scheme, _, rest = dsn.partition("://")
    if scheme not in {"postgresql", "postgres"}:
        raise ValueError("a database URL begins with postgresql://")
    return f"postgresql+psycopg://{rest}"


def upgrade(dsn: str) -> None:
    """Bring a database to the newest revision; does nothing if it is there already."""
    with _RUNNING:
        command.upgrade(config(dsn), "head")


def revise(dsn: str, message: str, revision: str) -> None:
    """Write a revision that brings a database at the newest one to the declared tables."""
    made = config(dsn)
    made.attributes["is_comparing"] = True
    with _RUNNING:
        command.revision(made, message, autogenerate=True, rev_id=revision)


def is_current(dsn: str) -> bool:
    """Whether a database is at the newest revision."""
    head = ScriptDirectory.from_config(config(dsn)).get_current_head()
    engine = create_engine(sqlalchemy_url(dsn), poolclass=NullPool)
    with engine.connect() as conn:
        context = MigrationContext.configure(conn, opts={"version_table_schema": SCHEMA})
        return context.get_current_revision() == head
