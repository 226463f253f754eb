"""The facade of runs that wait for people: what they are asked, and their answers."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration.lifecycle import DUE_TOPIC
from app.orchestration.workflow.inputs import check_answer
from app.orchestration.workflow.running import store
from app.orchestration.workflow.running.news import ANSWERS_TOPIC
from app.orchestration.workflow.running.records import Question

_ANSWER_BYTES = 2**20


class Workflows:
    """Questions of workflows. A question is answered once, by the job's owner."""

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups

    async def open_questions(
        self, uow: UnitOfWork, user_id: UUID, job_id: UUID | None = None, limit: int = 100
    ) -> Sequence[Question]:
        """What a user is asked now, the oldest first, at most 500; of one job if it is named."""
        return await store.open_questions(uow, user_id, job_id, max(1, min(limit, 500)))

    async def answer(self, uow: UnitOfWork, job_id: UUID, path: str, value: Any) -> Question:
        """Answer a question of the principal's user; the workflow goes on with it.

        Raises `not_found`, `invalid_input` or `unknown_field` (the form), `job_finished`,
        `question_expired`, and `conflict` if it is answered already.
        """
        user_id = uow.principal.owner
        question = await store.question(uow, job_id, path, user_id)
        if question is None:
            raise AppError(
                Code.NOT_FOUND,
                f"Job {job_id} asks nothing at '{path[:200]}'.",
                hint="The list of open questions has the paths of the steps that ask.",
            )
        await asyncio.to_thread(_check, question, value)
        if not await store.lock_job(uow, job_id, user_id):
            raise AppError(Code.JOB_FINISHED, f"Job {job_id} has ended; it needs no answer.")
        if not await store.answer(uow, job_id, path, user_id, value):
            raise await self._refusal(uow, question)
        for topic in (DUE_TOPIC, ANSWERS_TOPIC):
            uow.after_commit(partial(self._wakeups.wake, topic))
        return await self._again(uow, question)

    async def _again(self, uow: UnitOfWork, question: Question) -> Question:
        found = await store.question(uow, question.job_id, question.path, question.user_id)
        return question if found is None else found

    async def _refusal(self, uow: UnitOfWork, question: Question) -> AppError:
        now = await self._again(uow, question)
        if now.answered_at is None:
            return AppError(
                Code.QUESTION_EXPIRED,
                f"The question could be answered until {question.expires_at}.",
                hint="The workflow has gone on without the answer; submit it again if need be.",
            )
        return AppError(
            Code.CONFLICT,
            "The question is answered already.",
            hint="An answer cannot be changed; cancel the job if it was wrong.",
        )


def _check(question: Question, value: Any) -> None:
    try:
        body = orjson.dumps(value)
    except TypeError as error:
        raise AppError(Code.INVALID_INPUT, "The answer cannot be written as JSON.") from error
    if len(body) > _ANSWER_BYTES:
        raise AppError(
            Code.PAYLOAD_TOO_LARGE,
            f"The answer has {len(body)} bytes, more than {_ANSWER_BYTES}.",
            hint="Upload large data as a file and give its id.",
        )
    if b"\\u0000" in body and b"\\u0000" in body.replace(b"\\\\", b""):
        raise AppError(Code.INVALID_INPUT, "The answer has a null character.")
    check_answer(question.form, value)
