"""The books after a figure: all that was submitted has ended and is paid, and nothing else is.

A figure of a run that lost a job or a credit is none: `BooksError` takes its place.
"""

from dataclasses import dataclass
from typing import Any

import psycopg

from bench.platform import PRICE

_TOTALS = """
select
  (select count(*) from app.job_queue) as queued,
  (select count(*) from app.processing_jobs where end_time is null) as unended,
  (select count(*) from app.processing_jobs where status = 'Success') as succeeded,
  (select count(*) from app.settlement where kind = 'captured') as settled,
  (select coalesce(sum(captured_micro), 0) from app.settlement) as captured,
  (select coalesce(sum(amount_micro), 0) from app.hold) as held_ever,
  (select coalesce(sum(captured_micro + released_micro), 0) from app.settlement) as settled_ever,
  (select sum(held_micro) from app.wallet) as held,
  (select sum(captured_micro) from app.wallet) as paid,
  (select bool_and(available_micro + held_micro + captured_micro = granted_micro)
    from app.wallet) as is_whole,
  (select sum(granted_micro) from app.wallet)
    = (select sum(amount_micro) from app.transfer) as is_granted
"""


class BooksError(Exception):
    """A job or a credit is missing, or there is one too many."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Jobs that were put into the tables before: ended and paid, and queued for a later day."""

    finished: int = 0
    future: int = 0


async def check(
    conn: psycopg.AsyncConnection[Any], ended: int, loaded: Loaded | None = None
) -> None:
    """Raise `BooksError` unless `ended` jobs of one price, and those loaded, explain all there is.

    `conn` is a superuser's; all jobs submitted must have ended.
    """
    loaded = loaded or Loaded()
    cursor = await conn.execute(_TOTALS)
    row = await cursor.fetchone()
    assert row is not None
    assert cursor.description is not None
    found = {column.name: value for column, value in zip(cursor.description, row, strict=True)}
    price, done = PRICE.amount_micro, ended + loaded.finished
    expected = {
        "queued": loaded.future,
        "unended": loaded.future,
        "succeeded": done,
        "settled": done,
        "captured": done * price,
        "held_ever": (done + loaded.future) * price,
        "settled_ever": done * price,
        "held": loaded.future * price,
        "paid": done * price,
        "is_whole": True,
        "is_granted": True,
    }
    wrong = {name: (found[name], want) for name, want in expected.items() if found[name] != want}
    if wrong:
        told = ", ".join(f"{name} is {has}, not {want}" for name, (has, want) in wrong.items())
        raise BooksError(f"The books do not balance: {told}.")
