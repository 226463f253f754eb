"""From the end of a job to its endpoint, whatever the endpoint answers."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app.kernel.clock import loop_time
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.orchestration import JobContext, Outcome
from app.orchestration.webhooks.sending import post
from app.orchestration.webhooks.sending.post import WAITS_S, Sender
from app.orchestration.webhooks.types import Attempt
from tests.orchestration.conftest import Bench
from tests.orchestration.webhooks.conftest import PATIENCE_S, Hooks
from tests.orchestration.webhooks.receiver import Receiver, is_signed_by

pytestmark = pytest.mark.anyio


async def test_the_end_of_a_job_is_told(telling: Bench, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id, secret = await hooks.endpoint(receiver.url)
    job = await telling.submit(webhook_id=webhook_id)
    other = await telling.submit(definition={"n": 2})
    async with telling.working():
        await telling.until_ended(other.job_id)
        done = await telling.until_ended(job.job_id)
    assert await hooks.deliverer().run_once() == 1
    (got,) = receiver.got
    delivery = await hooks.one(webhook_id)
    assert (delivery.status, delivery.attempts, delivery.last_status) == ("delivered", 1, 200)
    assert (delivery.job_id, delivery.next_at, str(delivery.delivery_id)) == (
        job.job_id,
        None,
        got.id,
    )
    assert got.path == "/hook"
    assert got.headers["content-type"] == "application/json"
    assert is_signed_by(secret, got)
    message = got.message
    assert set(message) == {"type", "timestamp", "data"}
    assert message["type"] == "job.succeeded"
    assert done.end_time is not None
    told = datetime.fromisoformat(message["timestamp"])
    assert told == done.end_time.replace(microsecond=done.end_time.microsecond // 1000 * 1000)
    assert message["data"] == {
        "job_id": str(job.job_id),
        "kind": "task",
        "status": "Success",
        "error_code": None,
        "charged_micro": 2_000_000,
        "links": {
            "job": f"https://uaol.example/v1/jobs/{job.job_id}",
            "events": f"https://uaol.example/v1/jobs/{job.job_id}/events",
        },
    }
    assert hooks.counted("delivered") == 1


async def _refused(_ctx: JobContext) -> Outcome:
    long = "because " * 10_000
    return Outcome(False, {}, AppError(Code.CHECK_FAILED, long, details={"secret": long}))


async def _broken(_ctx: JobContext) -> Outcome:
    raise RuntimeError("again and again")


async def test_every_end_has_its_event_and_small_body(
    telling: Bench, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id, _ = await hooks.endpoint(receiver.url)
    cancelled = await telling.submit(webhook_id=webhook_id)
    async with telling.database.begin(telling.user.elevated()) as uow:
        await telling.jobs.cancel(uow, cancelled.job_id)
    async with telling.working():
        for run in (_refused, _broken):
            telling.handler.run_once = run
            await telling.until_ended((await telling.submit(webhook_id=webhook_id)).job_id)
    assert await hooks.deliverer().run_once() == 3
    told = {got.message["type"]: got.message["data"] for got in receiver.got}
    assert {kind: data["error_code"] for kind, data in told.items()} == {
        "job.cancelled": "job_cancelled",
        "job.failed": "check_failed",
        "job.dead": "attempts_exhausted",
    }
    assert {data["charged_micro"] for data in told.values()} == {0}
    assert max(len(got.body) for got in receiver.got) < 1024


async def test_an_end_that_is_rolled_back_is_not_told(telling: Bench, hooks: Hooks) -> None:
    webhook_id, _ = await hooks.endpoint("https://hooks.example.org/")
    job = await telling.submit(webhook_id=webhook_id)

    async def cancel_and_fail() -> None:
        async with telling.database.begin(telling.user.elevated()) as uow:
            await telling.jobs.cancel(uow, job.job_id)
            raise RuntimeError("back")

    with pytest.raises(RuntimeError, match="back"):
        await cancel_and_fail()
    assert await hooks.all(webhook_id) == []
    async with telling.database.begin(telling.user.elevated()) as uow:
        await telling.jobs.cancel(uow, job.job_id)
    assert (await hooks.one(webhook_id)).type == "job.cancelled"


async def test_nobody_is_told_at_an_endpoint_of_others_or_of_none(
    telling: Bench, hooks: Hooks
) -> None:
    webhook_id, _ = await hooks.endpoint("https://hooks.example.org/")
    await hooks.set("webhook_endpoint", f"user_id = '{uuid4()}'")
    for hook in (webhook_id, uuid4()):
        job = await telling.submit(webhook_id=hook)
        async with telling.database.begin(telling.user.elevated()) as uow:
            assert (await telling.jobs.cancel(uow, job.job_id)).status == "Cancelled"
    async with hooks.database.begin(SERVICE) as uow:
        rows = await uow.execute("select count(*) from app.webhook_delivery")
        assert rows.scalar_one() == 0


@pytest.mark.parametrize("answer", ["ok", "empty", "huge", "cut", "bomb"])
async def test_2xx_is_delivered_whatever_follows(
    hooks: Hooks, receiver: Receiver, answer: str
) -> None:
    receiver.usual = answer
    webhook_id, _ = await hooks.endpoint(receiver.url)
    await hooks.ping(webhook_id)
    await hooks.deliverer().run_once()
    delivery = await hooks.one(webhook_id)
    assert (delivery.status, delivery.last_status) == (
        "delivered",
        204 if answer == "empty" else 200,
    )
    assert receiver.sent < 2**26


@pytest.mark.parametrize(
    ("answer", "code", "error"),
    [
        ("error", 500, "It answered with HTTP 500."),
        ("denied", 401, "It answered with HTTP 401."),
        ("redirect", 302, "It answered with HTTP 302."),
        ("reset", None, "The connection broke off."),
        ("garbage", None, "The connection broke off."),
        ("hang", None, "It did not answer in time."),
    ],
)
async def test_anything_else_is_tried_again(
    hooks: Hooks,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int | None,
    error: str,
) -> None:
    receiver.script.append(answer)
    webhook_id, secret = await hooks.endpoint(receiver.url)
    made = await hooks.ping(webhook_id)
    deliverer, limits = hooks.deliverer(), Limits(monkeypatch)
    before = await hooks.now()
    sending = asyncio.create_task(deliverer.run_once())
    if answer == "hang":
        async with asyncio.timeout(30):
            await receiver.reached.wait()
        limits.pass_by()
    assert await sending == 1
    after = await hooks.now()
    waiting = await hooks.one(webhook_id)
    assert (waiting.status, waiting.last_status, waiting.last_error) == ("pending", code, error)
    assert waiting.next_at is not None
    # Five seconds from the answer, a fifth more or less.
    assert before + timedelta(seconds=4) <= waiting.next_at <= after + timedelta(seconds=6)
    await hooks.rest()
    assert await deliverer.run_once() == 0
    await hooks.due()
    assert await deliverer.run_once() == 1
    delivery = await hooks.one(webhook_id)
    assert (delivery.status, delivery.attempts, delivery.last_error) == ("delivered", 2, None)
    first, second = receiver.got
    assert first.id == second.id == str(made.delivery_id)
    assert first.body == second.body
    assert is_signed_by(secret, first)
    assert is_signed_by(secret, second)
    assert (hooks.counted("retried"), hooks.counted("delivered")) == (1, 1)


class Limits:
    """The times that endpoints are given, which pass when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._given: list[asyncio.Timeout] = []
        monkeypatch.setattr(post, "asyncio", self)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        assert seconds == PATIENCE_S
        self._given.append(asyncio.timeout(seconds))
        return self._given[-1]

    def pass_by(self) -> None:
        (given,) = self._given
        given.reschedule(loop_time())


async def test_nothing_listens(hooks: Hooks) -> None:
    webhook_id, _ = await hooks.endpoint("http://127.0.0.1:1/")
    await hooks.ping(webhook_id)
    await hooks.deliverer().run_once()
    delivery = await hooks.one(webhook_id)
    assert (delivery.status, delivery.last_error) == ("pending", "It could not be connected to.")


async def test_no_cookie_of_an_endpoint_is_kept(hooks: Hooks, receiver: Receiver) -> None:
    receiver.usual = "cookie"
    webhook_id, _ = await hooks.endpoint(receiver.url)
    await hooks.plant(webhook_id, 6)
    await hooks.deliverer().run_once()
    assert len(receiver.got) == 6
    assert not [got for got in receiver.got if "cookie" in got.headers]


class _Down:
    """A transport to nowhere."""

    async def handle_async_request(self, _request: object) -> object:
        raise OSError("nowhere")


async def test_the_waits_take_three_days() -> None:
    assert 3 * 86400 <= sum(WAITS_S) < 3.5 * 86400
    sender = Sender(_Down(), b"k" * 32, _Noon())  # type: ignore[arg-type]
    for turn in range(1, len(WAITS_S) + 3):
        attempt = Attempt(
            UUID(int=1), UUID(int=2), 7, turn, "x", {}, datetime.now(UTC), "https://a.example", ()
        )
        result = await sender.send(attempt)
        if turn > len(WAITS_S):
            assert (result.status, result.is_gone) == ("failed", False)
        else:
            assert result.status == "pending"
            assert 0.8 <= result.wait_s / WAITS_S[turn - 1] <= 1.2


class _Noon:
    def now(self) -> datetime:
        return datetime(2026, 1, 1, 12, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0
