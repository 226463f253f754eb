"""What runs ask their owners, through a door."""

from uuid import UUID

from app.kernel.principal import Principal, Scope
from app.orchestration import Workflows as Asking
from app.surfaces.context import Access, owned
from app.surfaces.services import Services
from app.surfaces.workflows.payloads import Answer
from app.surfaces.workflows.views import QuestionOut, QuestionsOut

MOST = 500


class Questions:
    """A user's open questions."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._asking = Asking(services.wakeups)

    async def open(
        self, principal: Principal, job_id: UUID | None = None, limit: int = 100
    ) -> QuestionsOut:
        """What the principal is asked now, the oldest first; of one job if it is named."""
        principal.require(Scope.JOBS)
        async with self._access.read(principal) as uow:
            if job_id is not None:
                job = await self._services.jobs.get(uow, job_id)
                owned(principal, job, job.user_id, "job")
            found = await self._asking.open_questions(uow, principal.owner, job_id, limit)
        return QuestionsOut(questions=[QuestionOut.of(question) for question in found])

    async def answer(self, principal: Principal, job_id: UUID, given: Answer) -> QuestionOut:
        """Answer a question; its run goes on.

        Raises `not_found`, `invalid_input` or `unknown_field` (the form), `job_finished`,
        `question_expired`, and `conflict` if it is answered already.
        """
        principal.require(Scope.JOBS)
        async with self._access.write(principal) as uow:
            question = await self._asking.answer(uow, job_id, given.step, given.answer)
        return QuestionOut.of(question).model_copy(update={"answer": given.answer})
