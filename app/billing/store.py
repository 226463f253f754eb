"""The SQL of billing. A single hold or settlement is a batch of one.

Lock order of every path: wallet rows by user id, then ledger rows by id.
"""

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

import orjson

from app.billing.types import Hold, Price, PriceKind, Settlement, Usage, Wallet
from app.kernel.ids import new_id
from app.kernel.uow import UnitOfWork

_LOCK = """
locked as materialized (
  select user_id, available_micro from app.wallet
  where user_id in (select user_id from asked) order by user_id for update)
"""

# Wallets and holds go through one window instead of a join: a wallet is its user's first row,
# and a hold is placed where the sum so far is not below nothing.
_HOLD = f"""
with asked as materialized (
  select * from unnest($1::text::uuid[], $2::text::uuid[], $3::text::bigint[],
    $4::text::double precision[]) with ordinality as a(hold_id, user_id, amount, lifetime, place)
  where not exists (select 1 from app.hold h where h.hold_id = a.hold_id)),
{_LOCK},
ranked as (
  select *, sum(moved) over (partition by user_id order by place) as remaining
  from (
    select null::uuid as hold_id, user_id, available_micro as moved, null::float8 as lifetime,
      0 as place from locked
    union all select hold_id, user_id, -amount, lifetime, place from asked) as mixed),
placed as (
  insert into app.hold (hold_id, user_id, amount_micro, expires_at)
  select hold_id, user_id, -moved, now() + make_interval(secs => lifetime)
  from ranked where hold_id is not null and remaining >= 0
  returning hold_id, user_id, amount_micro),
moved as (
  update app.wallet w
  set available_micro = w.available_micro - total, held_micro = w.held_micro + total
  from (select user_id, sum(amount_micro)::bigint as total from placed group by 1) as s
  where w.user_id = s.user_id)
select hold_id from placed
"""

# Reading the count takes the locks before the first row is written.
_SETTLE = f"""
with asked as materialized (
  select h.hold_id, h.user_id, h.amount_micro, a.kind, a.captured, a.usage
  from json_to_recordset($1::json) as a(hold_id uuid, kind text, captured bigint, usage jsonb)
  join app.hold h using (hold_id)
  where a.captured <= h.amount_micro),
{_LOCK},
ended as (
  insert into app.settlement (hold_id, user_id, kind, captured_micro, released_micro, usage)
  select hold_id, user_id, kind, captured, amount_micro - captured, usage
  from asked where (select count(*) from locked) is not null
  on conflict (hold_id) do nothing
  returning hold_id, user_id, captured_micro, released_micro),
moved as (
  update app.wallet w
  set available_micro = w.available_micro + s.released,
      held_micro = w.held_micro - s.released - s.captured,
      captured_micro = w.captured_micro + s.captured
  from (select user_id, sum(captured_micro)::bigint as captured,
          sum(released_micro)::bigint as released from ended group by 1) as s
  where w.user_id = s.user_id)
select hold_id from ended
"""


def _array(values: Iterable[object]) -> str:
    """A list as one text parameter: adapting every value would cost more than the statement."""
    return f"{{{','.join('null' if value is None else str(value) for value in values)}}}"


def _uuids(values: Iterable[UUID]) -> str:
    """A list of UUIDs as one text parameter, without the hyphens that only people need."""
    return f"{{{','.join([f'{value.int:032x}' for value in values])}}}"


async def place_holds(uow: UnitOfWork, holds: Sequence[Hold]) -> set[UUID]:
    """Place what the wallets cover, in the order given; return the ids placed now."""
    rows = await uow.fetch(
        _HOLD,
        _uuids(h.hold_id for h in holds),
        _uuids(h.user_id for h in holds),
        _array(h.amount_micro for h in holds),
        _array(h.lifetime_s for h in holds),
    )
    return {hold_id for (hold_id,) in rows}


async def available(uow: UnitOfWork, users: Collection[UUID]) -> dict[UUID, int]:
    """What each user can still spend, in micro-credits; the rows stay locked."""
    rows = await uow.execute(
        """
        select user_id, available_micro from app.wallet where user_id = any(:users)
        order by user_id for update
        """,
        {"users": sorted(users)},
    )
    return {row.user_id: row.available_micro for row in rows}


async def find_holds(uow: UnitOfWork, ids: Sequence[UUID]) -> dict[UUID, Hold]:
    """The holds there are, open or settled."""
    rows = await uow.execute(
        "select hold_id, user_id, amount_micro from app.hold where hold_id = any(:ids)",
        {"ids": list(ids)},
    )
    return {row.hold_id: Hold(row.hold_id, row.user_id, row.amount_micro) for row in rows}


async def settle(uow: UnitOfWork, ends: Sequence[Settlement]) -> set[UUID]:
    """End open holds; return the ids ended now (one already ended is left as it was)."""
    values = [
        {
            "hold_id": end.hold_id,
            "kind": end.kind,
            "captured": end.captured_micro,
            "usage": None if end.usage is None else _usage(end.usage),
        }
        for end in ends
    ]
    rows = await uow.fetch(_SETTLE, orjson.dumps(values).decode())
    return {hold_id for (hold_id,) in rows}


def _usage(usage: Usage) -> dict[str, object]:
    return {"kind": usage.kind, "subject": usage.subject, **usage.quantities}


async def captured_of(uow: UnitOfWork, hold_id: UUID) -> int | None:
    """What a settled hold cost; None while it is open."""
    rows = await uow.execute(
        "select captured_micro from app.settlement where hold_id = :id", {"id": hold_id}
    )
    row = rows.one_or_none()
    return None if row is None else int(row.captured_micro)


async def open_wallet(uow: UnitOfWork, user_id: UUID) -> None:
    """Create an empty wallet unless there is one."""
    await uow.execute(
        "insert into app.wallet (user_id) values (:user) on conflict do nothing", {"user": user_id}
    )


async def grant(uow: UnitOfWork, user_id: UUID, amount: int, cause_type: str, cause: str) -> bool:
    """Book a grant once per cause; return whether it was booked now."""
    rows = await uow.execute(
        """
        insert into app.transfer
          (transfer_id, user_id, debit, credit, amount_micro, cause_type, cause_id)
        values (:id, :user, 'platform:grants', 'wallet:' || :account, :amount, :type, :cause)
        on conflict (cause_type, cause_id, leg) do nothing returning transfer_id
        """,
        {
            "id": new_id(),
            "user": user_id,
            "account": str(user_id),
            "amount": amount,
            "type": cause_type,
            "cause": cause,
        },
    )
    if rows.one_or_none() is None:
        return False
    await uow.execute(
        """
        update app.wallet set available_micro = available_micro + :amount,
          granted_micro = granted_micro + :amount where user_id = :user
        """,
        {"amount": amount, "user": user_id},
    )
    return True


async def wallet(uow: UnitOfWork, user_id: UUID) -> Wallet | None:
    """The wallet as the principal may see it."""
    rows = await uow.execute(
        """
        select user_id, available_micro, held_micro, captured_micro, granted_micro
        from app.wallet where user_id = :user
        """,
        {"user": user_id},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else Wallet(**row)


async def latest_price(uow: UnitOfWork, kind: PriceKind, name: str) -> Price | None:
    """The newest version of a price."""
    rows = await uow.execute(
        """
        select kind, name, amount_micro, version from app.pricing_plans
        where kind = :kind and name = :name and mode = 'outcome'
        order by version desc limit 1
        """,
        {"kind": kind, "name": name},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else Price(**row)


async def insert_price(uow: UnitOfWork, price: Price) -> None:
    """Publish a version; another process that published it first wins."""
    await uow.execute(
        """
        insert into app.pricing_plans (plan_id, kind, name, version, amount_micro)
        values (:id, :kind, :name, :version, :amount) on conflict do nothing
        """,
        {
            "id": new_id(),
            "kind": price.kind,
            "name": price.name,
            "version": price.version,
            "amount": price.amount_micro,
        },
    )


async def record_once(uow: UnitOfWork, usage: Usage) -> bool:
    """Record usage; False if its id was recorded before."""
    found = await uow.execute(
        """
        insert into app.usage_event (usage_id, user_id, job_id, key, kind, subject, quantities)
        values (:usage_id, :user_id, :job_id, :key, :kind, :subject, cast(:quantities as jsonb))
        on conflict do nothing returning usage_id
        """,
        usage._asdict() | {"quantities": orjson.dumps(dict(usage.quantities)).decode()},
    )
    return found.first() is not None


async def insert_usage(uow: UnitOfWork, rows: Sequence[Usage]) -> None:
    """Record usage; a key that the job has recorded already is left as it was."""
    values = [
        {
            "usage_id": u.usage_id,
            "user_id": u.user_id,
            "job_id": u.job_id,
            "key": u.key,
            "kind": u.kind,
            "subject": u.subject,
            "quantities": dict(u.quantities),
        }
        for u in rows
    ]
    await uow.execute(
        """
        insert into app.usage_event (usage_id, user_id, job_id, key, kind, subject, quantities)
        select usage_id, user_id, job_id, key, kind, subject, quantities
        from json_to_recordset(cast(:rows as json)) as u(usage_id uuid, user_id uuid, job_id uuid,
          key text, kind text, subject text, quantities jsonb)
        on conflict (job_id, key) do nothing
        """,
        {"rows": orjson.dumps(values).decode()},
    )
