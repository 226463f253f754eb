"""Views: a user's credits, and jobs with their live status; the revision for the application."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# security_invoker: the views show a caller no row that the tables would not.
USER_ACCOUNTS = """
create view app.user_accounts with (security_invoker = true) as
select u.user_id, u.email, u.subscription_tier,
  coalesce(w.available_micro, 0) / 1000000 as current_credits,
  coalesce(w.available_micro, 0) as available_micro, coalesce(w.held_micro, 0) as held_micro
from app.users u left join app.wallet w using (user_id)
"""

JOBS = """
create view app.jobs with (security_invoker = true) as
select j.job_id, j.user_id, j.project_id, j.kind, j.workflow_definition,
  case when j.end_time is not null then j.status
    when q.lease_until > now() then 'Running'
    when q.failures > 0 or q.attempt > 0 then 'Retrying'
    else j.status end as status,
  j.price_micro, s.captured_micro as charged_micro, coalesce(q.attempt, j.attempt) as attempt,
  j.start_time, j.end_time, j.final_output, j.error
from app.processing_jobs j
left join app.job_queue q using (job_id)
left join app.settlement s on s.hold_id = j.job_id
"""

# The application's login may ask which revision this is, and nothing else of Alembic's table.
REVISION = """
create function app.schema_revision() returns text
language sql stable security definer set search_path = ''
as $$ select version_num from app.alembic_version $$
"""


def upgrade() -> None:
    # Supabase grants nothing on a schema of one's own; the embedded hub has done it already.
    op.execute("grant usage on schema app to authenticated, service_role")
    for name, sql in (("user_accounts", USER_ACCOUNTS), ("jobs", JOBS)):
        op.execute(sql)
        op.execute(f"grant select on app.{name} to authenticated, service_role")
    op.execute(REVISION)
    op.execute("revoke execute on function app.schema_revision() from public")
    op.execute("grant execute on function app.schema_revision() to service_role")


def downgrade() -> None:
    op.execute("drop function app.schema_revision()")
    op.execute("drop view app.jobs")
    op.execute("drop view app.user_accounts")
