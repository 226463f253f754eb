"""How many jobs have ended, and when: told by the workers themselves right after their commits.

A worker's process counts into a file that both sides map, so the client of a bench reads it without
asking the database, which it would load. Of every 64th job the moment is kept, too: `now()` in
PostgreSQL is the start of a transaction, but what is wanted is when its commit was known. The clock
is CLOCK_MONOTONIC, one for all processes of a machine. Nothing of the platform is imported here.
"""

import mmap
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

SAMPLED = 64
_HEAD = struct.Struct("=QQ")  # jobs, samples
_SAMPLE = struct.Struct("=16sd")
_SAMPLES = 200_000
_SIZE = _HEAD.size + _SAMPLES * _SAMPLE.size


def is_sampled(job_id: UUID) -> bool:
    """Whether this job's end is noted; the low bits of an id are random."""
    return not job_id.int % SAMPLED


class Slot:
    """One worker's file."""

    def __init__(self, folder: Path, number: int) -> None:
        path = folder / f"ended-{number}"
        if not path.exists():
            path.touch()
        with path.open("r+b") as file:
            file.truncate(_SIZE)
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self._jobs = self._samples = 0

    def note(self, job_ids: Sequence[UUID], count: int) -> None:
        """Count jobs that have just ended."""
        now = time.monotonic()
        for job_id in job_ids:
            if not job_id.int % SAMPLED and self._samples < _SAMPLES:
                at = _HEAD.size + self._samples * _SAMPLE.size
                _SAMPLE.pack_into(self._map, at, job_id.bytes, now)
                self._samples += 1
        self._jobs += count
        _HEAD.pack_into(self._map, 0, self._jobs, self._samples)

    def read(self) -> tuple[int, int]:
        """Jobs and samples so far."""
        jobs, samples = _HEAD.unpack_from(self._map, 0)
        return jobs, samples

    def moments(self) -> dict[bytes, float]:
        """When each sampled job's end was known to be durable, by its id."""
        end = _HEAD.size + self.read()[1] * _SAMPLE.size
        return dict(_SAMPLE.iter_unpack(self._map[_HEAD.size : end]))


class Ended:
    """The reading side, over the files of all workers."""

    def __init__(self, folder: Path, workers: int = 1) -> None:
        self._slots = [Slot(folder, number) for number in range(workers)]

    def total(self) -> int:
        """Jobs whose end is durable."""
        return sum(slot.read()[0] for slot in self._slots)

    def moments(self) -> dict[bytes, float]:
        """When each sampled job ended, in seconds of the monotonic clock."""
        return {key: at for slot in self._slots for key, at in slot.moments().items()}
