"""The store functions of jobs and billing over a `Memory`: what their SQL says, in Python.

`installed` puts them in the place of the SQL, so that all of the product above them runs as it is.
A differential test holds both to the same answers.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from app.billing import store as billing_store
from app.orchestration import store
from app.orchestration.operations.deadletters import store as letters_store
from app.orchestration.records import store as records_store
from tests.simulation.stores.ledger import (
    available,
    find_holds,
    insert_usage,
    move,
    place_holds,
    settle,
)
from tests.simulation.stores.queue import (
    cancelled,
    claim,
    complete,
    give_back,
    insert_jobs,
    lock_lease,
    lock_queued,
    queue_depth,
    renew,
    request_cancel,
    stage,
)
from tests.simulation.stores.records import (
    append_event,
    bury,
    events,
    find_by_keys,
    free_keys,
    get,
    take_keys,
)

__all__ = ["claim", "complete", "installed", "move", "settle"]

_PLACES: Mapping[Any, tuple[Any, ...]] = {
    store: (
        insert_jobs,
        stage,
        claim,
        renew,
        cancelled,
        lock_lease,
        lock_queued,
        request_cancel,
        give_back,
        complete,
        queue_depth,
    ),
    records_store: (take_keys, free_keys, find_by_keys, get, append_event, events),
    letters_store: (bury,),
    billing_store: (place_holds, available, find_holds, settle, insert_usage),
}


@contextmanager
def installed(**mutants: Any) -> Iterator[None]:
    """The product over memory; `mutants` are functions to put in the place of one of these."""
    # Plain assignment: a machine does this at each of its many thousand moves.
    before = [
        (module, function.__name__, getattr(module, function.__name__), function)
        for module, functions in _PLACES.items()
        for function in functions
    ]
    for module, name, _, function in before:
        setattr(module, name, mutants.get(name, function))
    try:
        yield
    finally:
        for module, name, replaced, _ in before:
            setattr(module, name, replaced)
