"""Gathers calls that come at the same time into one.

There is no timer: the first call goes at once, and while it is answered the next ones gather.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

AskedT = TypeVar("AskedT")
AnswerT = TypeVar("AnswerT")


class Gather(Generic[AskedT, AnswerT]):
    """Many asked singly, answered together: `answer` is given what was asked, at most `most`.

    It returns as many answers in the same order; an `Exception` among them is raised to the one
    who asked, one that it raises itself to all of them. One `answer` runs at a time.
    """

    def __init__(
        self,
        answer: Callable[[list[AskedT]], Awaitable[Sequence[AnswerT | Exception]]],
        *,
        most: int,
        name: str,
    ) -> None:
        self._answer = answer
        self._most = most
        self._name = name
        self._waiting: deque[tuple[AskedT, asyncio.Future[AnswerT]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def ask(self, asked: AskedT) -> asyncio.Future[AnswerT]:
        """The answer, later. Who gives the future up stops nothing."""
        future: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._name)
        return future

    async def _run(self) -> None:
        try:
            while self._waiting:
                size = min(len(self._waiting), self._most)
                batch = [self._waiting.popleft() for _ in range(size)]
                answers = await self._answers([asked for asked, _ in batch])
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        _settle(future, answer)
        finally:
            self._task = None

    async def _answers(self, asked: list[AskedT]) -> Sequence[AnswerT | Exception]:
        try:
            return await self._answer(asked)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            return [error] * len(asked)


def _settle(future: "asyncio.Future[AnswerT]", answer: AnswerT | Exception) -> None:
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
