"""Jobs, their traces and steps in partitions of days, and the functions that make and drop them.

Job ids are UUIDs of version 7 (RFC 9562): their first 48 bits are milliseconds, so a range of ids
is a span of time and the primary keys stay what they were. The old table becomes the partition of
all before tomorrow, read once to check that; ids beyond it (not of version 7) move to the rest.
"""

from typing import NamedTuple

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TODAY = "(now() at time zone 'utc')::date"
_VIEWS = ("jobs", "job_lines")
_ALL = "select, insert, update, delete"


class _Table(NamedTuple):
    """What `like` does not say of a table; every key begins with `job_id`."""

    primary: str
    indexes: dict[str, str]
    rights: str
    options: str = ""


_TABLES = {
    "processing_jobs": _Table(
        "job_id",
        {"ix_processing_jobs_user_id_job_id": "index {} on {} (user_id, job_id)"},
        _ALL,
        "with (fillfactor = 50)",
    ),
    "job_events": _Table(
        "job_id, seq",
        {
            "ix_job_events_user_id": "index {} on {} (user_id)",
            "uq_job_events_once": "unique index {} on {} (job_id, once) where once is not null",
        },
        "select, insert",
    ),
    "job_steps": _Table("job_id, path", {"ix_job_steps_user_id": "index {} on {} (user_id)"}, _ALL),
}

_DAY_ID = """
create function app.day_id(day date) returns uuid
language sql immutable strict set search_path = ''
as $$
  select (lpad(to_hex((day - date '1970-01-01')::bigint * 86400000), 12, '0')
    || repeat('0', 20))::uuid
$$
"""

# The bounds are the catalogue's own; a null is no bound.
_PARTITIONS = r"""
create function app.partitions() returns table
  (relation text, name text, low uuid, high uuid, is_rest boolean, row_estimate bigint,
   bytes bigint)
language sql stable set search_path = ''
as $$
  select p.relname::text, c.relname::text,
    substring(bound from 'FROM \(''([^'']+)''\)')::uuid,
    substring(bound from 'TO \(''([^'']+)''\)')::uuid,
    bound = 'DEFAULT', greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid)
  from pg_catalog.pg_inherits i
  join pg_catalog.pg_class p on p.oid = i.inhparent
  join pg_catalog.pg_class c on c.oid = i.inhrelid,
  lateral (select pg_catalog.pg_get_expr(c.relpartbound, c.oid) as bound) as told
  where p.relnamespace = 'app'::regnamespace and p.relkind = 'p' and c.relkind = 'r'
$$
"""

# A partition has no grant, and no policy but its owner's: all others come through the parent.
_PROTECT = """
create function app.protect_partition(name text) returns void
language plpgsql set search_path = ''
as $$
begin
  execute format('alter table app.%I enable row level security', name);
  execute format('alter table app.%I force row level security', name);
  execute format('revoke all on app.%I from public, anon, authenticated, service_role', name);
  execute format('create policy keeper_all on app.%I to current_user using (true)'
    ' with check (true)', name);
end $$
"""

# What the new partition covers moves there out of the rest, which is locked meanwhile: hence the
# bounds on its size. Waiting longer than this for a lock would hold up whoever comes after.
_MAKE = """
create function app.make_partition(relation text, day date, until date) returns text
language plpgsql security definer set search_path = '' set lock_timeout = '100ms'
as $$
declare
  rest text;
  made text := format('%s_p%s', relation, to_char(day, 'YYYYMMDD'));
  first uuid := app.day_id(day);
  beyond uuid := app.day_id(until);
  options text;
  crowd bigint;
begin
  select p.name, 'with (' || array_to_string(c.reloptions, ', ') || ')' into rest, options
  from app.partitions() p join pg_catalog.pg_class c on c.relname = p.name
    and c.relnamespace = 'app'::regnamespace
  where p.relation = make_partition.relation and p.is_rest;
  if rest is null then
    raise invalid_parameter_value using message = 'no such partitioned table';
  end if;
  if day is null or until is null or day < date '2020-01-01' or until <= day
      or until > current_date + 400 then
    raise invalid_parameter_value
      using message = 'the days are not a span between 2020 and 400 days from now';
  end if;
  if exists (select from app.partitions() p
      where p.relation = make_partition.relation and not p.is_rest
        and (p.low is null or p.low < beyond) and p.high > first) then
    return 'kept';
  end if;
  execute format('lock table app.%I in access exclusive mode', rest);
  execute format('select count(*) from (select from app.%I where job_id >= $1 and job_id < $2'
    ' limit 50001) as few', rest) into crowd using first, beyond;
  if crowd > 50000 or pg_catalog.pg_relation_size(format('app.%I', rest)::regclass) > 2 ^ 30 then
    return 'crowded';
  end if;
  execute format('create table app.%I (like app.%I including all) %s', made, relation, options);
  perform app.protect_partition(made);
  execute format('with gone as (delete from app.%I where job_id >= $1 and job_id < $2 returning *)'
    ' insert into app.%I select * from gone', rest, made) using first, beyond;
  execute format('alter table app.%I attach partition app.%I for values from (%L) to (%L)',
    relation, made, first, beyond);
  return 'made';
end $$
"""

_DROP = """
create function app.drop_partition(relation text, before date) returns text
language plpgsql security definer set search_path = '' set lock_timeout = '100ms'
as $$
declare
  old record;
begin
  if relation is null or relation not in ('processing_jobs', 'job_events', 'job_steps') then
    raise invalid_parameter_value using message = 'no table of jobs in partitions';
  end if;
  if before is null or before > (now() at time zone 'utc')::date then
    raise invalid_parameter_value using message = 'the day is not in the past';
  end if;
  for old in select p.name, p.low, p.high from app.partitions() p
    where p.relation = drop_partition.relation and p.high <= app.day_id(before) order by p.high
  loop
    continue when exists (select from app.job_queue q
      where (old.low is null or q.job_id >= old.low) and q.job_id < old.high);
    execute format('drop table app.%I', old.name);
    return old.name;
  end loop;
  return null;
end $$
"""

# Only ids of version 7 tell when they were made.
_DELETE = """
create function app.delete_overflow(relation text, before date, at_most int) returns int
language plpgsql security definer set search_path = '' set lock_timeout = '100ms'
as $$
declare
  deleted int;
begin
  if relation is null or relation not in ('processing_jobs', 'job_events', 'job_steps') then
    raise invalid_parameter_value using message = 'no table of jobs in partitions';
  end if;
  if before is null or before > (now() at time zone 'utc')::date then
    raise invalid_parameter_value using message = 'the day is not in the past';
  end if;
  if at_most is null or at_most not between 1 and 10000 then
    raise invalid_parameter_value using message = 'at most 10000 rows at a time';
  end if;
  execute format('delete from app.%1$I where ctid = any(array(
    select r.ctid from app.%1$I r
    where r.job_id < $1 and substr(r.job_id::text, 15, 1) = ''7''
      and not exists (select from app.job_queue q where q.job_id = r.job_id)
    order by r.job_id limit $2))', relation || '_default') using app.day_id(before), at_most;
  get diagnostics deleted = row_count;
  return deleted;
end $$
"""

_SERVICE_ONLY = {
    "app.day_id(date)": _DAY_ID,
    "app.partitions()": _PARTITIONS,
    "app.make_partition(text, date, date)": _MAKE,
    "app.drop_partition(text, date)": _DROP,
    "app.delete_overflow(text, date, int)": _DELETE,
}
_FUNCTIONS = {"app.protect_partition(text)": _PROTECT, **_SERVICE_ONLY}


def upgrade() -> None:
    # Whether a job lives decides what may be dropped; the owner must see that.
    op.execute(
        "create policy owner_select on app.job_queue for select to current_user using (true)"
    )
    for name, sql in _FUNCTIONS.items():
        op.execute(sql)
        op.execute(f"revoke execute on function {name} from public")
    for name in _SERVICE_ONLY:
        op.execute(f"grant execute on function {name} to service_role")
    views = _take_views()
    for name, table in _TABLES.items():
        _split(name, table)
    _show(views)


def _take_views() -> dict[str, str]:
    """Drop the views of the tables, which would go on reading the old ones."""
    shown = {
        view: op.get_bind().scalar(sa.text(f"select pg_get_viewdef('app.{view}'::regclass)"))
        for view in _VIEWS
    }
    for view in _VIEWS:
        op.execute(f"drop view app.{view}")
    return shown


def _show(views: dict[str, str]) -> None:
    for view, shown in views.items():
        sql = f"create view app.{view} with (security_invoker = true) as {shown}"
        op.execute(sa.text(sql.replace(":", r"\:")))
        op.execute(f"grant select on app.{view} to authenticated, service_role")


def _split(name: str, table: _Table) -> None:
    past, rest = f"{name}_past", f"{name}_default"
    _step_aside(name, past, table)
    op.execute(
        f"create table app.{name} (like app.{past} including all excluding indexes)"
        " partition by range (job_id)"
    )
    _index(name, table)
    op.execute(f"create table app.{rest} (like app.{name} including all) {table.options}")
    op.execute(f"select app.protect_partition('{rest}')")
    op.execute(f"alter table app.{name} attach partition app.{rest} default")
    op.execute(f"select app.make_partition('{name}', {_TODAY} + 1, {_TODAY} + 2)")
    # The owner of a table under forced row-level security sees none of its rows.
    op.execute(f"alter table app.{past} no force row level security")
    columns = _columns(name)
    bound = op.get_bind().scalar(sa.text(f"select app.day_id({_TODAY} + 1)"))
    op.execute(
        f"with gone as (delete from app.{past} where job_id >= '{bound}' returning {columns})"
        f" insert into app.{name} ({columns}) select {columns} from gone"
    )
    op.execute(f"select app.protect_partition('{past}')")
    op.execute(
        f"alter table app.{name} attach partition app.{past}"
        f" for values from (minvalue) to ('{bound}')"
    )
    _protect(name, table)


def _columns(name: str) -> str:
    return str(
        op.get_bind().scalar(
            sa.text(
                "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute"
                f" where attrelid = 'app.{name}'::regclass and attnum > 0 and not attisdropped"
            )
        )
    )


def _step_aside(name: str, past: str, table: _Table) -> None:
    """Rename a table and its indexes; take its policies and rights away."""
    for policy in ("service_all", "reader_select"):
        op.execute(f"drop policy {policy} on app.{name}")
    for index in (f"pk_{name}", *table.indexes):
        op.execute(f"alter index app.{index} rename to {index}_past")
    op.execute(f"alter table app.{name} rename to {past}")


def _index(name: str, table: _Table) -> None:
    op.execute(f"alter table app.{name} add constraint pk_{name} primary key ({table.primary})")
    for index, sql in table.indexes.items():
        op.execute(f"create {sql.format(index, f'app.{name}')}")


def _protect(name: str, table: _Table) -> None:
    for sql in (
        f"alter table app.{name} enable row level security",
        f"alter table app.{name} force row level security",
        f"grant {table.rights} on app.{name} to service_role",
        f"create policy service_all on app.{name} to service_role using (true) with check (true)",
        f"grant select on app.{name} to authenticated",
        f"create policy reader_select on app.{name} for select to authenticated"
        " using ((select auth.uid()) = user_id)",
    ):
        op.execute(sql)


def downgrade() -> None:
    views = _take_views()
    for name, table in _TABLES.items():
        _join(name, table)
    _show(views)
    for name in reversed(_FUNCTIONS):
        op.execute(f"drop function {name}")
    op.execute("drop policy owner_select on app.job_queue")


def _join(name: str, table: _Table) -> None:
    """One table again; all rows are written anew."""
    parts = f"{name}_partitioned"
    for index in (f"pk_{name}", *table.indexes):
        op.execute(f"alter index app.{index} rename to {index}_parts")
    op.execute(f"alter table app.{name} rename to {parts}")
    op.execute(f"alter table app.{parts} no force row level security")
    op.execute(
        f"create table app.{name} (like app.{parts} including all excluding indexes)"
        f" {table.options}"
    )
    op.execute(f"insert into app.{name} select * from app.{parts}")
    op.execute(f"drop table app.{parts}")
    _index(name, table)
    _protect(name, table)
