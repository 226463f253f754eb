"""From a request to a queued job: check everything, store inline files, then one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.agents import TaskTemplate
from app.kernel.clock import SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.kernel.uow import UnitOfWork
from app.orchestration import JobRequest, Submitted
from app.storage import Blob
from app.surfaces.charging import quote
from app.surfaces.context import Access
from app.surfaces.files import Files
from app.surfaces.inputs import InlineFile, Path, file_ids, prepare, put
from app.surfaces.payloads import check_json, pointer
from app.surfaces.services import Services
from app.surfaces.terms import USUAL, Terms, check_run_at
from app.surfaces.told import require_webhook


@dataclass(frozen=True)
class _Task:
    """An accepted request; inline files stand in `value` as placeholder ids."""

    template: TaskTemplate
    value: dict[str, Any]
    inline: Mapping[Path, InlineFile]
    blobs: Mapping[Path, Blob]

    def definition(self) -> dict[str, Any]:
        return {
            "kind": "task",
            "template": self.template.name,
            "version": self.template.version,
            "input": self.value,
        }


class Submission:
    """Submits tasks. A refused request leaves no job, no file row and no hold."""

    def __init__(self, services: Services, access: Access, files: Files) -> None:
        self._services = services
        self._access = access
        self._files = files
        self._clock = SystemClock()

    async def submit(
        self,
        principal: Principal,
        name: str,
        raw: Mapping[str, Any],
        terms: Terms = USUAL,
    ) -> Submitted:
        """Queue a task of the template `name`; its key makes a repeated request the same job."""
        check_run_at(terms.run_at, self._clock.now())
        await require_webhook(self._services, self._access, principal, terms.webhook)
        task = await self._accept(principal, name, raw)
        async with self._access.write(principal) as uow:
            request = await self._request(uow, principal, task, terms)
            return await self._services.jobs.submit(uow, request)

    async def keep(self, principal: Principal, name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The input of a task that will run later: checked, its inline files stored as files."""
        task = await self._accept(principal, name, raw)
        async with self._access.write(principal) as uow:
            await self._attach(uow, principal, task)
        return task.value

    async def prepare(
        self, principal: Principal, name: str, raw: Mapping[str, Any], terms: Terms = USUAL
    ) -> JobRequest:
        """A task checked and priced, to be queued by the caller."""
        task = await self._accept(principal, name, raw)
        async with self._access.write(principal) as uow:
            return await self._request(uow, principal, task, terms)

    async def _accept(self, principal: Principal, name: str, raw: Mapping[str, Any]) -> _Task:
        principal.require(Scope.JOBS)
        check_json(raw)
        template = self._services.templates.get(name)
        schema = template.input_schema()
        prepared = prepare(schema, raw)
        value = template.validate(prepared.value)
        named = file_ids(schema, value)
        inline = {p: prepared.inline[i] for p, i in named.items() if i in prepared.inline}
        await self._require(principal, {p: i for p, i in named.items() if p not in inline})
        put_bytes = self._services.storage.put_bytes
        blobs = {path: await put_bytes(file.text.encode()) for path, file in inline.items()}
        return _Task(template, value, inline, blobs)

    async def _require(self, principal: Principal, named: Mapping[Path, UUID]) -> None:
        if not named:
            return
        async with self._access.read(principal) as uow:
            for path, file_id in named.items():
                try:
                    await self._files.own(uow, principal, file_id)
                except AppError as error:
                    raise _no_file(error, path, file_id) from error

    async def _request(
        self, uow: UnitOfWork, principal: Principal, task: _Task, terms: Terms
    ) -> JobRequest:
        billing, charging = self._services.billing, terms.charging
        price = await quote(billing, uow, "template", task.template.name, charging)
        await self._attach(uow, principal, task)
        return JobRequest(
            user_id=principal.owner,
            project_id=principal.project_id,
            kind="task",
            definition=task.definition() | charging.noted(),
            price=price,
            idempotency_key=terms.idempotency_key,
            priority=terms.priority,
            run_at=terms.run_at,
            limit_names=self._services.limit_names(principal.owner, None, terms.limit_key),
            webhook_id=terms.webhook,
        )

    async def _attach(self, uow: UnitOfWork, principal: Principal, task: _Task) -> None:
        # One order of locks for all: equal inline files are one row (so that a repeated request
        # is the same request), and two submits may share several of them.
        for path, blob in sorted(task.blobs.items(), key=lambda item: item[1].sha256):
            name = task.inline[path].name
            stored = await self._files.attach(uow, principal, blob, name, "text/plain")
            put(task.value, path, str(stored.file_id))


def _no_file(error: AppError, path: Path, file_id: UUID) -> AppError:
    if error.code is not Code.NOT_FOUND:
        return error
    return AppError(
        Code.NOT_FOUND,
        f"{pointer(path)}: there is no file {file_id}.",
        hint="Upload the file first and use its file_id.",
        details={"pointer": pointer(path)},
    )
