"""The worker: what runs jobs of every kind, and how they end."""

from app.agents import AgentNodes, TaskRunner
from app.billing import Billing
from app.kernel.wakeups import Wakeups
from app.orchestration import (
    Admission,
    Dispatcher,
    Lifecycle,
    StepCharges,
    Webhooks,
    Worker,
    WorkflowLane,
    make_dispatcher,
)
from app.storage import Storage
from app.surfaces.services import Services


def make_lifecycle(
    billing: Billing,
    storage: Storage,
    wakeups: Wakeups,
    admission: Admission,
    webhooks: Webhooks,
) -> Lifecycle:
    """What happens to a job from its submit to its end."""
    return Lifecycle(
        billing,
        storage,
        wakeups,
        admission=admission,
        announce=webhooks.announce,
        charges=StepCharges().of,
    )


def make_worker(services: Services, lifecycle: Lifecycle) -> Worker:
    """The worker of this process, not started."""
    dispatcher = make_dispatcher(
        services.settings, services.database, services.wakeups, services.metrics
    )
    return Worker(
        transactions=services.database,
        wakeups=services.wakeups,
        lifecycle=lifecycle,
        billing=services.billing,
        proxy=services.proxy,
        handlers={"task": TaskRunner(services.templates, services.storage.put_bytes)},
        settings=services.settings,
        metrics=services.metrics,
        lanes=[_workflows(services, lifecycle, dispatcher)],
        dispatcher=dispatcher,
    )


def _workflows(services: Services, lifecycle: Lifecycle, dispatcher: Dispatcher) -> WorkflowLane:
    return WorkflowLane(
        transactions=services.database,
        wakeups=services.wakeups,
        lifecycle=lifecycle,
        billing=services.billing,
        proxy=services.proxy,
        settings=services.settings,
        runners={"agent": AgentNodes(services.templates, services.storage)},
        dispatcher=dispatcher,
    )
