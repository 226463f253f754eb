"""The reporter writes the files of a result that passed."""

from app.agents.roles.base import StoreFile, Work
from app.agents.template import TaskTemplate
from app.agents.types import JSON, RenderedFile, RoleContext, RunState


async def report(
    template: TaskTemplate, ctx: RoleContext, state: RunState, store: StoreFile
) -> Work:
    """Render the report and store its files; the same bytes are stored once."""
    written = await template.report(ctx, state)
    files = [await _stored(file, store) for file in written.files]
    listed = [{key: file[key] for key in ("name", "media_type", "size")} for file in files]
    await ctx.emit("report.ready", {"files": listed})
    return Work(RunState(report={"output": written.output, "files": files}), written.summary)


async def _stored(file: RenderedFile, store: StoreFile) -> JSON:
    blob = await store(file.data)
    return {"name": file.name, "media_type": file.media_type, **blob}
