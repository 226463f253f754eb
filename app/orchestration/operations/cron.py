"""Moments of cron expressions: five fields in a time zone, as Debian's cron reads them.

`cronsim` and not croniter: where the clock goes back, croniter fires a daily job twice, and a run
costs money. A local time that a change of clocks skips fires right after the change; one that comes
twice fires the first time only, unless the hour or the minute is `*` or `*/n`: such a schedule
follows the real hours.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from app.kernel.errors import AppError, Code

_FIELDS = 5
_LONGEST = 200
_DAY = timedelta(days=1)
_FIRST_WINDOW = timedelta(hours=1)


class Cron:
    """A cron expression in a time zone. All moments are aware, in UTC, in whole minutes."""

    def __init__(self, expression: str, time_zone: str = "UTC") -> None:
        """Raise `invalid_input` for what is no expression, no time zone, or never comes."""
        self._zone = _zone(time_zone)
        self._expression = " ".join(expression.split())
        # The library also reads six fields, with seconds first.
        if len(expression) > _LONGEST or len(self._expression.split()) != _FIELDS:
            raise _bad(expression, "it needs five fields: minute hour day month weekday")
        try:
            CronSim(self._expression, datetime.now(self._zone))
        except CronSimError as error:
            raise _bad(expression, str(error)) from error

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The moments after `moment`, soonest first; it ends if none comes within 50 years."""
        for local in CronSim(self._expression, moment.astimezone(self._zone)):
            yield local.astimezone(UTC)

    def next(self, moment: datetime) -> datetime | None:
        """The first moment after `moment`, if any ever comes."""
        return next(self.after(moment), None)

    def between(self, first: datetime, last: datetime, most: int) -> list[datetime]:
        """The moments in [first, last], oldest first, but no more than `most` of them."""
        start = first - timedelta(microseconds=1)
        return list(islice(self._until(start, last), most))

    def newest(self, first: datetime, last: datetime, most: int) -> list[datetime]:
        """The last `most` moments in [first, last], oldest first.

        Looks back from `last` in windows that double, so that years of minutes cost little.
        """
        window = _FIRST_WINDOW
        while True:
            start = max(first, last - window)
            # From a day before, so that a window which opens in a change of clocks reads it whole.
            found = [moment for moment in self._until(start - _DAY, last) if moment >= start]
            if start == first or len(found) >= most:
                return found[-most:] if most else []
            window *= 2

    def _until(self, start: datetime, last: datetime) -> Iterator[datetime]:
        for moment in self.after(start):
            if moment > last:
                return
            yield moment


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise AppError(
            Code.INVALID_INPUT,
            f"There is no time zone {name!r}.",
            hint="Use a name of the IANA database, such as `UTC` or `Europe/Berlin`.",
            details={"pointer": "/time_zone"},
        ) from error


def _bad(expression: str, why: str) -> AppError:
    return AppError(
        Code.INVALID_INPUT,
        f"{expression[:_LONGEST]!r} is no cron expression: {why}.",
        hint="Write minute, hour, day of month, month and weekday, such as `30 6 * * mon-fri`.",
        details={"pointer": "/cron"},
    )
