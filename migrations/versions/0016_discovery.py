"""The index of tools."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tool_index",
        sa.Column("tool_name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("words", TSVECTOR(), nullable=False),
        sa.Column("embedding", Vector(), nullable=False),
        sa.PrimaryKeyConstraint("tool_name", name=op.f("pk_tool_index")),
        schema="app",
    )
    for sql in (
        "alter table app.tool_index enable row level security",
        "alter table app.tool_index force row level security",
        "grant select, insert, update, delete on app.tool_index to service_role",
        "create policy service_all on app.tool_index to service_role using (true)"
        " with check (true)",
    ):
        op.execute(sql)


def downgrade() -> None:
    op.drop_table("tool_index", schema="app")
