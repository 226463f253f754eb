"""When a failed run is tried again, and when not."""

import random

from app.kernel.errors import AppError, Code

_LONGEST_DELAY_S = 3600.0


def is_final(error: AppError) -> bool:
    """Whether trying again cannot help."""
    return not error.is_retryable and error.code is not Code.INTERNAL


def delay_of(failures: int, first_s: float) -> float:
    """Seconds before the next attempt: doubling, with a quarter of jitter, an hour at most."""
    return min(first_s * 2.0**failures * random.uniform(0.75, 1.25), _LONGEST_DELAY_S)


def buried(attempts: int, cause: AppError) -> AppError:
    """The error of a job that failed at every attempt."""
    return AppError(
        Code.ATTEMPTS_EXHAUSTED,
        f"The job failed {attempts} times; nothing was charged.",
        hint="The cause is in `details`; submit the job again once it is mended.",
        details={"cause": cause.as_dict()},
    )
