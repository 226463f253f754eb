"""What tasks show, through every executor: values, pictures, and errors of cells."""

from typing import Any

import pytest

from app.sandbox import Sandbox, TaskSpec
from app.sandbox.types import Ended, Shown
from tests.sandbox.conftest import SMALL, Run

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n"
PLOT = """
import matplotlib.pyplot as plt
plt.plot([1, 4, 2])
plt.show()
print("shown")
plt.bar(["a", "b"], [1, 2])
"""


async def test_the_last_expression_comes_back(run: Run) -> None:
    result = await run("x = [n * n for n in range(4)]\nx")
    assert (result.status, result.value, result.stdout) == ("ok", "[0, 1, 4, 9]", "")
    assert (await run("print('only')")).value is None


async def test_a_long_value_is_cut(run: Run) -> None:
    result = await run("'x' * 200_000")
    assert result.value is not None
    assert len(result.value) <= 2**16


async def test_figures_come_back_as_pictures_and_as_files(run: Run) -> None:
    result = await run(PLOT)
    assert (result.status, result.stdout) == ("ok", "shown\n"), result.stderr
    assert result.plots == ("figure-1.png", "figure-2.png")
    assert {file.name for file in result.files} == set(result.plots)
    assert all(file.content.startswith(PNG) for file in result.files)


async def test_a_plotly_figure_comes_back_with_a_preview(run: Run) -> None:
    code = "import plotly.graph_objects as go\ngo.Figure(go.Bar(x=['a', 'b'], y=[1, 2])).show()"
    result = await run(code)
    assert result.plots == ("figure-1.preview.png",), result.stderr
    assert {file.name for file in result.files} == {"figure-1.json", "figure-1.preview.png"}


@pytest.mark.parametrize("name", [b"a\nb.png", b"a\\b.png", b"\xff.png", "a\u202eb.png".encode()])
async def test_a_picture_of_a_bad_name_is_the_tasks_doing(run: Run, name: bytes) -> None:
    code = (
        f"import os\nname = {name!r}\nopen(b'/task/output/' + name, 'w').close()\n"
        "os.write(3, b'p' + len(name).to_bytes(4, 'big') + name)\n"
    )
    result = await run(code)
    assert (result.status, result.plots, result.files) == ("ok", (), ()), result.stderr
    assert len(result.dropped) == 1


async def test_a_figure_is_streamed_when_it_is_shown(sandbox: Sandbox) -> None:
    waiting = f"{PLOT}\nplt.close()\nimport signal\nwhile True: signal.pause()\n"
    events: list[Any] = []
    async for event in sandbox.stream(TaskSpec("shown", waiting, limits=SMALL)):
        events.append(event)
        if isinstance(event, Shown):
            await sandbox.cancel("shown")
    shown = [event.file for event in events if isinstance(event, Shown)]
    assert [file.name for file in shown] == ["figure-1.png"]
    assert shown[0].content.startswith(PNG)
    assert isinstance(events[-1], Ended)
    assert events[-1].result.status == "killed"


async def test_tracebacks_are_the_codes_own(run: Run) -> None:
    result = await run("import json\ndef load():\n    json.loads('{')\nload()\n")
    lines = result.stderr.splitlines()
    assert lines[1:5] == [
        '  File "/task/task.py", line 4, in <module>',
        "    load()",
        '  File "/task/task.py", line 3, in load',
        "    json.loads('{')",
    ]
    assert "/opt/uaol" not in result.stderr
    assert "/run/uaol" not in result.stderr


async def test_a_session_shows_each_cell_and_names_it_in_errors(sandbox: Sandbox) -> None:
    async def cell(code: str) -> Any:
        spec = TaskSpec("cell", code, limits=SMALL, session_id="notebook", owner="me")
        return await sandbox.run(spec)

    assert (await cell("def half(x):\n    return x / 0\n7")).value == "7"
    assert (await cell("_ + 1")).value == "8"
    failed = await cell("half(_)")
    assert (failed.status, failed.value) == ("error", None)
    assert '/task/cell_1.py", line 2, in half\n    return x / 0\n' in failed.stderr
    drawn = await cell(PLOT)
    assert drawn.plots == ("figure-1.png", "figure-2.png")
    assert (await cell("half")).plots == ()
