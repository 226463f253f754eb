"""How a run's questions reach the client that waits for it, in either era.

The modern era ends the call with what is asked, and the client calls again with the answers and
a sealed state; earlier eras are asked while the call waits. Either way the run is one run, and
its price is held once.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import mcp_types as types
import orjson
from mcp.shared.exceptions import MCPError, NoBackChannelError
from pydantic import ValidationError

from app.kernel.errors import AppError, Code
from app.orchestration import JobEvent
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.live.elicitation import Form, input_request, message_of
from app.surfaces.mcp.results import Result
from app.surfaces.workflows import Answer, QuestionOut
from app.surfaces.workflows.questions import Questions

# A wrong answer is worth another try; anything else (answered, expired, ended) is not.
_AGAIN = frozenset({Code.INVALID_INPUT, Code.UNKNOWN_FIELD, Code.PAYLOAD_TOO_LARGE})
_TRIES = 5
_STEP_ENDS = frozenset({"step.finished", "step.failed", "step.skipped"})


def is_question(event: JobEvent) -> bool:
    """Whether a run has come to a step that asks a person."""
    return event.kind == "step.waiting" and event.data.get("title") is not None


class Dialogue:
    """With a client that cannot be asked: it waits for an answer from elsewhere."""

    def __init__(self, questions: Questions, call: Call, job_id: UUID) -> None:
        self._questions = questions
        self._call = call
        self._job_id = job_id
        self.after_seq = 0
        self.is_refused = False

    async def resume(self) -> Result | None:
        """Take what the client answered to the round before; what it must still be asked."""
        return None

    async def turn(self, event: JobEvent) -> Result | None:
        """An event has come; what the client must be asked before it calls again."""
        return None

    def close(self) -> None:
        """The waiting is over."""

    async def _open(self) -> Sequence[QuestionOut]:
        return (await self._questions.open(self._call.principal, self._job_id)).questions

    async def _answer(self, question: QuestionOut, content: Mapping[str, Any]) -> str | None:
        """Give an answer to the run; what is wrong with it, where another would do."""
        try:
            answer = Answer(step=question.path, answer=Form.of(question.form).read(content))
            await self._questions.answer(self._call.principal, self._job_id, answer)
        except AppError as error:
            return error.message if error.code in _AGAIN else None
        return None


class RoundTrips(Dialogue):
    """2026-07-28: `input_required` with the questions, then the same call with the answers."""

    def __init__(self, questions: Questions, call: Call, job_id: UUID) -> None:
        super().__init__(questions, call, job_id)
        if call.state is not None:
            self.after_seq = int(call.state["seq"])

    async def resume(self) -> Result | None:
        if self._call.state is None:
            return None
        problems: dict[str, str] = {}
        for question in await self._open():
            given = self._call.responses.get(question.path)
            if not isinstance(given, Mapping):
                continue
            if given.get("action") != "accept":
                self.is_refused = True
            elif problem := await self._answer(question, given.get("content") or {}):
                problems[question.path] = problem
        return None if self.is_refused else self._ask(await self._open(), problems)

    async def turn(self, event: JobEvent) -> Result | None:
        self.after_seq = event.seq
        return self._ask(await self._open(), {}) if is_question(event) else None

    def _ask(self, asked: Sequence[QuestionOut], problems: Mapping[str, str]) -> Result | None:
        if not asked:
            return None
        requests = {one.path: input_request(one, problems.get(one.path)) for one in asked}
        state = {"job": str(self._job_id), "seq": self.after_seq}
        return {
            "resultType": "input_required",
            "inputRequests": requests,
            "requestState": orjson.dumps(state).decode(),
        }


class BackChannel(Dialogue):
    """2025-06-18 and 2025-11-25: the server asks while the call waits."""

    def __init__(
        self, questions: Questions, call: Call, job_id: UUID, stop: Callable[[], None]
    ) -> None:
        super().__init__(questions, call, job_id)
        self._stop = stop
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def turn(self, event: JobEvent) -> Result | None:
        if event.kind in _STEP_ENDS:
            # Somebody answered through another door, or it has expired.
            self._drop(str(event.data.get("path")))
        elif is_question(event):
            for question in await self._open():
                if question.path not in self._asking:
                    self._begin(question)
        return None

    def close(self) -> None:
        for path in tuple(self._asking):
            self._drop(path)

    def _begin(self, question: QuestionOut) -> None:
        task = asyncio.create_task(self._ask(question), name="elicitation")
        self._asking[question.path] = task
        task.add_done_callback(partial(self._done, question.path))

    def _drop(self, path: str) -> None:
        if (task := self._asking.pop(path, None)) is not None:
            task.cancel()

    def _done(self, path: str, task: asyncio.Task[None]) -> None:
        if self._asking.get(path) is task:
            del self._asking[path]

    async def _ask(self, question: QuestionOut) -> None:
        problem: str | None = None
        for _ in range(_TRIES):
            try:
                result = await self._call.context.session.elicit_form(
                    message_of(question, problem),
                    Form.of(question.form).schema,
                    related_request_id=self._call.context.request_id,
                )
            except (MCPError, NoBackChannelError, ValidationError):
                # The client cannot, after all: the question stays open for other doors.
                return
            if (problem := await self._read(question, result)) is None:
                return
        self._refuse()

    async def _read(self, question: QuestionOut, result: types.ElicitResult) -> str | None:
        if result.action != "accept":
            self._refuse()
            return None
        return await self._answer(question, result.content or {})

    def _refuse(self) -> None:
        self.is_refused = True
        self._stop()
