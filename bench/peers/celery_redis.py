"""Celery on Redis: `python -m bench.peers.celery_redis --dsn URL --jobs N` (the URL is not used).

Settings: prefork, `acks_late` so that a killed worker loses nothing, 200 messages prefetched, no
result store, append-only file synced every second. A job counts when it is acknowledged.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import celery
import psutil  # type: ignore[import-untyped]
import redis
from celery import signals

from bench.peers.harness import Probe, Send, main
from bench.peers.redis_server import redis_server

PREFETCH = 200


@dataclass(slots=True)
class BrokerProbe:
    """Redis keeps no record of what is done: it is what was sent and is no longer there."""

    broker: redis.Redis
    sent: list[int] = field(default_factory=list)

    def is_idle(self) -> bool:
        """See `Probe`."""
        # A message is in neither place for a moment, between its pop and its registration.
        return self._waiting() == 0 and self._waiting() == 0

    def done(self) -> int:
        """See `Probe`."""
        return sum(self.sent) - self._waiting()

    def _waiting(self) -> int:
        asked = self.broker.pipeline()
        asked.llen("celery")
        asked.hlen("unacked")
        queued, unacked = asked.execute()
        return int(queued) + int(unacked)


class CeleryEngine:
    """The peer."""

    name = "celery_redis"
    package = "celery"
    settings: ClassVar[Mapping[str, Any]] = {
        "pool": "prefork",
        "acks_late": True,
        "prefetch": PREFETCH,
        "ignore_result": True,
        "redis": "appendonly, appendfsync everysec",
    }
    notes = "no record of a done job: an acknowledgement, and up to 1 s of them can be lost"

    def __init__(self) -> None:
        self._sent: list[int] = []
        self._server = 0

    @contextlib.contextmanager
    def store(self, dsn: str) -> Iterator[str]:
        """A Redis server of its own."""
        with redis_server() as (url, pid):
            self._server = pid
            yield url

    def install(self, address: str) -> None:
        """Nothing to make."""

    @contextlib.contextmanager
    def producer(self, address: str) -> Iterator[Send]:
        """Sends one message after the other over one connection."""
        app, task = _app(address)

        def send(items: Sequence[str]) -> None:
            for item in items:
                task.apply_async((json.loads(item),), producer=producer)
            self._sent.append(len(items))

        with app.producer_pool.acquire(block=True) as producer:
            yield send

    @contextlib.contextmanager
    def probe(self, address: str) -> Iterator[Probe]:
        """Messages that are queued or not acknowledged."""
        with redis.Redis.from_url(address) as broker:
            yield BrokerProbe(broker, self._sent)

    def work(self, address: str, workers: int, ready: Callable[[], None]) -> None:
        """One parent with a child per worker."""
        app, _ = _app(address)
        # Weakly held by the signal unless told otherwise.
        signals.worker_ready.connect(lambda **_: ready(), weak=False)
        options = ["--pool=prefork", f"--concurrency={workers}", "--loglevel=ERROR"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        app.worker_main(["--quiet", "worker", *options, *quiet])

    def processes(self, workers: int) -> int:
        """Celery starts its workers itself."""
        return 1

    def servers(self, address: str) -> list[psutil.Process]:
        """The Redis server."""
        return [psutil.Process(self._server)]


def _no_op(argument: dict[str, object]) -> None:
    pass


def _app(address: str) -> tuple[celery.Celery, celery.Task]:
    app = celery.Celery("bench", broker=address)
    app.conf.update(
        task_acks_late=True,
        worker_prefetch_multiplier=PREFETCH,
        task_ignore_result=True,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
    )
    return app, app.task(name="no_op")(_no_op)


if __name__ == "__main__":
    main(CeleryEngine())
