"""JSON of a hundred thousand levels, where a body may be large enough to hold it."""

from pathlib import Path

import orjson
import pytest

from app.kernel.settings import Settings
from tests.security.gateway.conftest import code_in, free
from tests.surfaces.fastpath import conftest as fastpath
from tests.surfaces.fastpath.conftest import Far, message
from tests.surfaces.fastpath.test_sessions import call, sitting

pytestmark = pytest.mark.anyio
DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    usual: Settings = fastpath.settings.__wrapped__(tmp_path)  # type: ignore[attr-defined]
    return usual.model_copy(update={"request_limit": 2**20})


async def test_a_hundred_thousand_levels(far: Far) -> None:
    """Whole and cut short, as a message, its id and its arguments; in both eras."""
    text = b'{"text":"hi"}'
    async with sitting(far) as session:
        for usual in (orjson.dumps(message()), orjson.dumps(call())):
            for body in (
                DEEP,
                DEEP[:100_000],
                usual.replace(text, b'{"text":' + DEEP + b"}"),
                usual.replace(b'"id":1', b'"id":' + DEEP),
            ):
                for answer in (await far.post(body, name="far.echo"), await session.send(body)):
                    assert answer.status_code == 400, answer.text[:300]
                    assert code_in(answer.content) in {-32700, -32600, -32602}
    await free(far)
