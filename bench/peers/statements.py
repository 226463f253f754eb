"""The statements of a billed job, without any feature: what `bench.raw` loops over.

Lists travel as one text parameter each: adapting 500 values one by one would cost more than the
statement. The id of a job is that of its hold. Wallets are locked in the order of their users.
"""

PRICE = 1000

SCHEMA = """
create table wallet (user_id uuid primary key, available bigint not null check (available >= 0),
  held bigint not null default 0 check (held >= 0), captured bigint not null default 0)
  with (fillfactor = 20);
create table jobs (job_id uuid primary key, user_id uuid not null, input jsonb not null,
  status smallint not null default 0, start_time timestamptz not null default now(),
  end_time timestamptz, output jsonb) with (fillfactor = 70);
create table queue (job_id uuid primary key, user_id uuid not null, lease_until timestamptz,
  attempt int not null default 0) with (fillfactor = 70);
create table hold (hold_id uuid primary key, user_id uuid not null, amount bigint not null,
  created_at timestamptz not null default now());
create table settlement (hold_id uuid primary key, user_id uuid not null,
  captured bigint not null, created_at timestamptz not null default now());
"""

GIVE = """
insert into wallet (user_id, available)
select user_id, $2::bigint from unnest($1::text::uuid[]) as u(user_id)
"""

ENQUEUE = f"""
with asked as materialized (
  select * from rows from (unnest($1::text::uuid[]), unnest($2::text::uuid[]),
    jsonb_array_elements($3::text::jsonb)) as a(job_id, user_id, input)),
due as materialized (select user_id, count(*) * {PRICE} as amount from asked group by 1),
locked as materialized (
  select w.user_id, d.amount from due d join wallet w using (user_id)
  order by w.user_id for update of w),
money as (
  update wallet w set available = w.available - l.amount, held = w.held + l.amount
  from locked l where w.user_id = l.user_id),
held as (insert into hold (hold_id, user_id, amount) select job_id, user_id, {PRICE} from asked),
queued as (insert into queue (job_id, user_id) select job_id, user_id from asked)
insert into jobs (job_id, user_id, input) select job_id, user_id, input from asked
"""

CLAIM = """
with claimed as (
  update queue set lease_until = now() + interval '30 s', attempt = attempt + 1
  where job_id = any(array(
    select job_id from queue where lease_until is null or lease_until < now()
    order by job_id limit $1::int for update skip locked))
  returning job_id, attempt)
select c.job_id, c.attempt, j.input::text from claimed c join jobs j using (job_id)
"""

COMPLETE = f"""
with asked as materialized (
  select * from rows from (unnest($1::text::uuid[]), unnest($2::text::int[]),
    jsonb_array_elements($3::text::jsonb)) as a(job_id, attempt, output)),
ended as (
  delete from queue q using asked a where q.job_id = a.job_id and q.attempt = a.attempt
  returning q.job_id, q.user_id, a.output),
stored as (
  update jobs j set status = 2, end_time = now(), output = e.output
  from ended e where j.job_id = e.job_id),
due as materialized (select user_id, count(*) * {PRICE} as amount from ended group by 1),
locked as materialized (
  select w.user_id, d.amount from due d join wallet w using (user_id)
  order by w.user_id for update of w),
money as (
  update wallet w set held = w.held - l.amount, captured = w.captured + l.amount
  from locked l where w.user_id = l.user_id)
insert into settlement (hold_id, user_id, captured) select job_id, user_id, {PRICE} from ended
returning 1
"""

BALANCE = """
select (select count(*) from settlement), (select count(*) from queue), sum(held), sum(captured),
  bool_and(available + held + captured = $1::bigint) from wallet
"""
