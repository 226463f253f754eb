"""The statements of the index."""

from collections.abc import Sequence
from typing import NamedTuple

from app.kernel.uow import UnitOfWork

# Reciprocal rank fusion (Cormack, Clarke, Buettcher, SIGIR 2009). Vectors count twice and the
# constant is small: with equal weights and the usual 60, weak full text pulled good vectors down.
_NEAR_WEIGHT = 2.0
_CONSTANT = 5.0
_DEEPEST = 50


class Indexed(NamedTuple):
    """A row of the index."""

    name: str
    digest: str
    title: str
    body: str
    embedding: Sequence[float]


async def digests(uow: UnitOfWork, model: str) -> dict[str, str]:
    """What is indexed under that model: the digest of each tool's text."""
    query = "select tool_name, digest from app.tool_index where model = :model"
    return {row.tool_name: row.digest for row in await uow.execute(query, {"model": model})}


async def write(uow: UnitOfWork, model: str, rows: Sequence[Indexed]) -> None:
    """Add rows, or replace those there are."""
    if not rows:
        return
    await uow.execute(
        """
        insert into app.tool_index (tool_name, digest, model, words, embedding)
        select name, digest, :model,
          setweight(to_tsvector('english', title), 'A') ||
          setweight(to_tsvector('english', body), 'C'), embedding::extensions.vector
        from unnest(cast(:names as text[]), cast(:digests as text[]), cast(:titles as text[]),
          cast(:bodies as text[]), cast(:embeddings as text[]))
          as given (name, digest, title, body, embedding)
        order by name
        on conflict (tool_name) do update set digest = excluded.digest, model = excluded.model,
          words = excluded.words, embedding = excluded.embedding
        """,
        {
            "model": model,
            "names": [row.name for row in rows],
            "digests": [row.digest for row in rows],
            "titles": [row.title for row in rows],
            "bodies": [row.body for row in rows],
            "embeddings": [_vector(row.embedding) for row in rows],
        },
    )


async def prune(uow: UnitOfWork, names: Sequence[str]) -> None:
    """Delete what is neither of these tools nor of a listed one.

    Those who ask may not have seen yet what another process has indexed already.
    """
    await uow.execute(
        """
        delete from app.tool_index i
        where not i.tool_name = any(cast(:names as text[]))
          and not exists (select from app.mcp_tools t where t.name = i.tool_name and t.is_listed)
        """,
        {"names": list(names)},
    )


async def search(
    uow: UnitOfWork,
    words: str,
    vector: Sequence[float],
    model: str,
    names: Sequence[str],
    limit: int,
) -> list[tuple[str, float]]:
    """The best of the tools `names`, best first, each with its score.

    The query's words are taken as alternatives: people ask in sentences, and no tool has all of
    their words.
    """
    rows = await uow.execute(
        """
        with asked as (
          select replace(cast(plainto_tsquery('english', :words) as text), '&', '|')::tsquery
              as words,
            cast(:vector as extensions.vector) as vector
        ), seen as (
          select i.tool_name, i.words, i.embedding from app.tool_index i
          where i.model = :model and i.tool_name = any(cast(:names as text[]))
        ), found as (
          select tool_name, row_number() over (order by ts_rank(seen.words, asked.words) desc,
            tool_name) as place
          from seen, asked where seen.words @@ asked.words
          order by place limit :deepest
        ), near as (
          select tool_name, row_number() over (
            order by seen.embedding operator(extensions.<=>) asked.vector, tool_name) as place
          from seen, asked order by place limit :deepest
        )
        select coalesce(found.tool_name, near.tool_name) as name,
          coalesce(1 / (cast(:constant as float8) + found.place), 0) +
          coalesce(cast(:weight as float8) / (:constant + near.place), 0) as score
        from found full join near using (tool_name)
        order by score desc, name limit :limit
        """,
        {
            "words": words,
            "vector": _vector(vector),
            "model": model,
            "names": list(names),
            "deepest": _DEEPEST,
            "constant": _CONSTANT,
            "weight": _NEAR_WEIGHT,
            "limit": limit,
        },
    )
    return [(row.name, float(row.score)) for row in rows]


def _vector(values: Sequence[float]) -> str:
    return f"[{','.join(f'{value:.7g}' for value in values)}]"
