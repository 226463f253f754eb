"""The SQL of storage. A unit of work of a user, or for a user, finds that user's files only."""

from typing import Any
from uuid import UUID

from app.kernel.ids import new_id
from app.kernel.uow import UnitOfWork
from app.storage.types import StoredFile

_COLUMNS = "file_id, user_id, project_id, job_id, name, media_type, size, sha256, kind, created_at"
_MINE = "(cast(:asker as uuid) is null or user_id = :asker)"

_INSERT = """
insert into app.files as f
  (file_id, user_id, project_id, job_id, kind, name, media_type, size, sha256)
values (:file_id, :user_id, :project_id, :job_id, :kind, :name, :media_type, :size, :sha256)
"""
# The last clause keeps a repeat under another owner from taking the row over: nothing comes back.
_ARTIFACT = f"""{_INSERT}
on conflict (job_id, name) where kind = 'artifact' do update
set media_type = excluded.media_type, size = excluded.size, sha256 = excluded.sha256,
  project_id = excluded.project_id
where f.user_id = excluded.user_id
returning {_COLUMNS}
"""
_INPUT = f"""{_INSERT}
on conflict (user_id, sha256, name) where kind = 'input' do update
set media_type = excluded.media_type
returning {_COLUMNS}
"""


async def upsert(uow: UnitOfWork, values: dict[str, Any]) -> StoredFile | None:
    """A new row, the same upload again, or the job's artifact with new content.

    None if the job's artifact is somebody else's.
    """
    sql = _ARTIFACT if values["kind"] == "artifact" else _INPUT
    result = await uow.execute(sql, {"file_id": new_id(), **values})
    row = result.mappings().first()
    return None if row is None else StoredFile(**row)


async def by_id(uow: UnitOfWork, file_id: UUID) -> StoredFile | None:
    """The file, if the asker may see it."""
    sql = f"select {_COLUMNS} from app.files where file_id = :file_id and {_MINE}"
    values = {"file_id": file_id, "asker": uow.principal.user_id}
    row = (await uow.execute(sql, values)).mappings().first()
    return None if row is None else StoredFile(**row)


async def artifacts(uow: UnitOfWork, job_id: UUID) -> list[StoredFile]:
    """The job's artifacts by name, those the asker may see."""
    sql = f"""
    select {_COLUMNS} from app.files
    where job_id = :job_id and kind = 'artifact' and {_MINE} order by name
    """
    values = {"job_id": job_id, "asker": uow.principal.user_id}
    return [StoredFile(**row) for row in (await uow.execute(sql, values)).mappings()]
