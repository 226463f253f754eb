"""Runs the Alembic migrations, the same on the embedded hub and on Supabase."""

from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import ProgrammingError

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
    """Whether a database is at the newest revision, as the application's login sees it."""
    engine = create_engine(sqlalchemy_url(dsn), poolclass=NullPool)
    try:
        with engine.connect() as conn:
            # The application's login has no rights before it takes a role; the owner needs none.
            if conn.execute(text("select pg_has_role('service_role', 'member')")).scalar():
                conn.execute(text("set local role service_role"))
            revision = conn.execute(text(f"select {SCHEMA}.schema_revision()")).scalar()
    except ProgrammingError:
        # No such role, schema or function: nothing was migrated here yet.
        return False
    return revision == ScriptDirectory.from_config(config(dsn)).get_current_head()
