"""With a million rows already there: jobs that have ended, and jobs of a later day.

They are written by SQL, as the platform would have left them, wallets and all; then the tables are
vacuumed and analyzed, as they would be by then.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
import uvloop

from bench.figures import tell
from bench.jobs import books
from bench.jobs.load import Closed, Window, pick_evenly
from bench.jobs.stage import Options, Rig, stage
from bench.platform import PRICE

_JOBS = """
create temporary table loaded as
select uuidv7(interval '-1 second') as job_id,
  users.ids[1 + mod(n, cardinality(users.ids))] as user_id
from generate_series(1, %(rows)s) as n, (select %(users)s::uuid[] as ids) as users
"""

_ROW = """
insert into app.processing_jobs (job_id, user_id, kind, workflow_definition, price_micro,
  price_version, status, start_time, end_time, attempt, final_output)
select job_id, user_id, 'tool', jsonb_build_object('tool', 'bench.noop', 'arguments',
  jsonb_build_object('payload', repeat('x', 180))), %(price)s, 1, %(status)s,
  now(), case when %(ended)s then now() end,
  case when %(ended)s then 1 else 0 end, case when %(ended)s then '{"ok": true}'::jsonb end
from loaded
"""

_HOLD = """
insert into app.hold (hold_id, user_id, amount_micro)
select job_id, user_id, %(price)s from loaded
"""

_SETTLED = """
insert into app.settlement (hold_id, user_id, kind, captured_micro, released_micro)
select job_id, user_id, 'captured', %(price)s, 0 from loaded
"""

_QUEUED = """
insert into app.job_queue (job_id, user_id, kind, run_at)
select job_id, user_id, 'tool', now() + interval '1 day' from loaded
"""

_WALLET = """
update app.wallet w
set available_micro = available_micro - total,
  captured_micro = captured_micro + case when %(ended)s then total else 0 end,
  held_micro = held_micro + case when %(ended)s then 0 else total end
from (select user_id, count(*) * %(price)s as total from loaded group by 1) as l
where w.user_id = l.user_id
"""


def with_rows(options: Options, _found: Mapping[str, Any]) -> dict[str, Any]:
    """`with_1m_finished_per_s` and `with_1m_future_per_s`."""
    finished = uvloop.run(_run(options, books.Loaded(finished=options.rows)))
    future = uvloop.run(_run(options, books.Loaded(future=options.rows)))
    return {
        "with_1m_finished_per_s": finished.per_s,
        "with_1m_future_per_s": future.per_s,
        "rows_loaded": options.rows,
    }


async def _run(options: Options, loaded: books.Loaded) -> Window:
    with stage() as place:
        async with Rig.over(place, options) as rig:
            tell(f"loading {loaded}")
            await _load(rig, loaded)
            rig.loaded = loaded
            tell("loaded")
            return await Closed(rig, options, pick_evenly(rig.users)).run(options.seconds)


async def _load(rig: Rig, loaded: books.Loaded) -> None:
    is_ended = loaded.finished > 0
    values = {
        "rows": loaded.finished or loaded.future,
        "users": rig.users,
        "price": PRICE.amount_micro,
        "status": "Success" if is_ended else "Queued",
        "ended": is_ended,
    }
    async with await psycopg.AsyncConnection.connect(rig.stage.superuser) as conn:
        for statement in (_JOBS, _ROW, _HOLD, _SETTLED if is_ended else _QUEUED, _WALLET):
            await conn.execute(statement, values)
    await rig.conn.execute("vacuum (analyze)")
    await rig.conn.execute("checkpoint")
