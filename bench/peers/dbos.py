"""DBOS Transact: `python -m bench.peers.dbos --dsn URL --jobs N`.

Settings: a queue polled every 10 ms, an async workflow without steps, 100 at a time in a worker.
It has no batch enqueue, so that ten threads enqueue one workflow each.
"""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import dbos

from bench.peers.harness import PostgresEngine, Probe, Send, main, sql_probe

QUEUE = "no_op_queue"
WORKFLOW = "no_op"
VERSION = "bench"
CONCURRENCY = 100
POLLING_S = 0.01
THREADS = 10


class DbosEngine(PostgresEngine):
    """The peer."""

    name = "dbos"
    package = "dbos"
    settings: ClassVar[Mapping[str, Any]] = {
        "worker_concurrency": CONCURRENCY,
        "polling_interval_sec": POLLING_S,
        "enqueue_threads": THREADS,
        "workflow": "async, no steps",
    }
    notes = "stores input and result; no ledger; a done workflow is a row with status SUCCESS"

    def install(self, address: str) -> None:
        """Its tables; launching it makes them."""
        _launch(address)
        dbos.DBOS.destroy(destroy_registry=True)

    @contextlib.contextmanager
    def producer(self, address: str) -> Iterator[Send]:
        """Threads that enqueue one by one."""
        client = dbos.DBOSClient(system_database_url=address, system_database_pool_size=THREADS)
        options: dbos.EnqueueOptions = {"workflow_name": WORKFLOW, "queue_name": QUEUE}

        def enqueue(items: Sequence[str]) -> None:
            for item in items:
                client.enqueue(options, json.loads(item))

        def send(items: Sequence[str]) -> None:
            list(pool.map(enqueue, [items[first::THREADS] for first in range(THREADS)]))

        with ThreadPoolExecutor(THREADS) as pool:
            yield send
        client.destroy()

    def probe(self, address: str) -> contextlib.AbstractContextManager[Probe]:
        """Rows by status."""
        return sql_probe(
            address,
            "from dbos.workflow_status where status in ('ENQUEUED', 'PENDING', 'DELAYED')",
            "from dbos.workflow_status where status = 'SUCCESS'",
        )

    def work(self, address: str, workers: int, ready: Callable[[], None]) -> None:
        """One executor."""
        _launch(address)
        dbos.DBOS.register_queue(
            QUEUE, worker_concurrency=CONCURRENCY, polling_interval_sec=POLLING_S
        )
        ready()
        threading.Event().wait()


def _launch(address: str) -> None:
    config: dbos.DBOSConfig = {
        "name": "bench",
        "system_database_url": address,
        "application_version": VERSION,
        "executor_id": str(os.getpid()),
        "log_level": "ERROR",
    }
    dbos.DBOS(config=config)
    dbos.DBOS.workflow(name=WORKFLOW)(_no_op)
    dbos.DBOS.launch()


async def _no_op(argument: dict[str, object]) -> None:
    pass


if __name__ == "__main__":
    main(DbosEngine())
