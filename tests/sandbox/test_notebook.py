"""What a task shows, as a notebook would: values, figures and errors. In a Python of its own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).resolve().parents[2] / "sandbox" / "notebook.py"
PNG = b"\x89PNG\r\n\x1a\n"

DRIVER = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("uaol_notebook", sys.argv[1])
notebook = importlib.util.module_from_spec(spec)
spec.loader.exec_module(notebook)
told, ends, loaded = [], [], set(sys.modules)
namespace = None
for number, code in enumerate(json.load(sys.stdin), 1):
    name = f"/task/cell-{number}.py"
    namespace = notebook.new_namespace(name) if namespace is None else namespace
    try:
        emit = lambda kind, text: told.append([number, kind, text])
        notebook.execute(code, namespace, name, emit)
        ends.append("ok")
    except SystemExit as leaving:
        ends.append(leaving.code)
    except BaseException as error:
        notebook.show_error(error)
        ends.append(type(error).__name__)
print("\\n@" + json.dumps([told, ends, sorted(set(sys.modules) - loaded)]))
"""


@dataclass(frozen=True)
class Seen:
    """What came of the cells; `told` has the number of the cell, the kind and the text."""

    told: list[tuple[int, str, str]]
    ends: list[Any]
    modules: set[str]
    stdout: str
    stderr: str
    folder: Path

    @property
    def values(self) -> list[str]:
        return [text for _, kind, text in self.told if kind == "v"]

    @property
    def pictures(self) -> list[str]:
        return [text for _, kind, text in self.told if kind == "p"]

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@pytest.fixture(scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where matplotlib has looked for fonts once: it complains in a test where that takes long."""
    folder = tmp_path_factory.mktemp("matplotlib")
    subprocess.run(
        [sys.executable, "-c", "import matplotlib.font_manager"],
        env={"MPLCONFIGDIR": str(folder)}, check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def cells(tmp_path: Path, fonts: Path) -> Any:
    """`cells(code, ...)`: run them one after the other, with the output folder as theirs."""
    folder = tmp_path / "output"
    folder.mkdir()
    driver = tmp_path / "runner.py"
    driver.write_text(DRIVER)

    def run(*codes: str) -> Seen:
        done = subprocess.run(
            [sys.executable, str(driver), str(TOOL)],
            input=json.dumps(codes),
            env={"UAOL_OUTPUT": str(folder), "MPLBACKEND": "Agg", "MPLCONFIGDIR": str(fonts)},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        )
        printed, _, report = done.stdout.rpartition("\n@")
        told, ends, modules = json.loads(report)
        return Seen([tuple(e) for e in told], ends, set(modules), printed, done.stderr, folder)

    return run


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("1 + 1", "2"),
        ("x = 5\nx", "5"),
        ("x = 5\nx  # the answer\n\n", "5"),
        ("'text'", "'text'"),
        ("x = [1,\n  2]\nsum(\n  x\n)", "3"),
        ("x = 1; x + 1", "2"),
        ('"""\nof two lines"""', "'\\nof two lines'"),
        ("def f():\n    return 3\nf()", "3"),
        ("if True:\n    pass\n7", "7"),
        ("from __future__ import annotations\n8", "8"),
        ("x = 9\nx\r\n", "9"),
        ("0", "0"),
        ("# coding: utf-8\n'ü'", "'ü'"),
    ],
)
def test_the_last_expression_is_shown(cells: Any, code: str, shown: str) -> None:
    assert cells(code).values == [shown]


@pytest.mark.parametrize(
    "code",
    [
        "",
        "# nothing",
        "x = 1",
        "5;",
        "5 ; # silenced",
        "None",
        "print('x')",
        "if True:\n    5",
        "for x in range(3):\n    x",
        "x = '''\n1 + 1'''",
        "x = 1 + \\\n    2",
        "x = (\n1\n)",
        "def f():\n    return 1\n\n    f()",
        "import os",
    ],
)
def test_nothing_else_is_shown(cells: Any, code: str) -> None:
    seen = cells(code)
    assert (seen.told, seen.ends) == ([], ["ok"])


def test_code_runs_as_main_and_only_once(cells: Any) -> None:
    seen = cells("import __main__\nprint(__name__, __file__)\n__main__.x = 1\nx")
    assert (seen.stdout, seen.values) == ("__main__ /task/cell-1.py\n", ["1"])


def test_plain_code_loads_nothing(cells: Any) -> None:
    assert cells("print(1)").modules <= {"_ast"}
    assert cells("x = 1\nx").modules <= {"_ast"}
    assert cells("for x in 'ab':\n    print(x)").modules <= {"_ast"}


def test_a_long_value_is_cut_to_64_kib(cells: Any) -> None:
    for code in ("'ü' * 10**6", "'x' * 10**8", "list(range(10**6))", "b'\\0' * 10**6"):
        (value,) = cells(code).values
        assert len(value.encode()) <= 2**16
        assert value.endswith(("cut", "1000 of 1000000 items"))


def test_values_are_laid_out_for_reading(cells: Any) -> None:
    (value,) = cells("{'key-%d' % n: list(range(12)) for n in range(4)}").values
    assert len(value.splitlines()) == 4
    frame = "import pandas\npandas.DataFrame({'a%d' % n: [1.5] for n in range(20)})"
    (value,) = cells(frame).values
    assert "..." not in value.replace("\n", "")
    assert max(map(len, value.splitlines())) <= 120
    (value,) = cells("import numpy\nnumpy.eye(2)").values
    assert value == "array([[1., 0.],\n       [0., 1.]])"


def test_a_value_that_cannot_be_shown_is_the_codes_error(cells: Any) -> None:
    seen = cells("class A:\n    def __repr__(self):\n        return 1 / 0\nA()")
    assert seen.ends == ["ZeroDivisionError"]
    assert "line 3, in __repr__" in seen.stderr
    assert "notebook" not in seen.stderr


def test_a_traceback_begins_and_ends_in_user_code(cells: Any) -> None:
    seen = cells("import json\ndef load(text):\n    return json.loads(text)\nload('{')\n")
    lines = seen.stderr.splitlines()
    assert lines[:5] == [
        "Traceback (most recent call last):",
        '  File "/task/cell-1.py", line 4, in <module>',
        "    load('{')",
        '  File "/task/cell-1.py", line 3, in load',
        "    return json.loads(text)",
    ]
    note = next(line for line in lines if line.startswith("  ... "))
    assert "frames in library code, the last in raw_decode, " in note
    assert "json/decoder.py, line " in note
    assert lines[-1].startswith("json.decoder.JSONDecodeError: ")
    assert "notebook" not in seen.stderr


def test_chained_errors_are_trimmed_too(cells: Any) -> None:
    code = (
        "import json\n"
        "def read(text):\n"
        "    try:\n"
        "        return json.loads(text)\n"
        "    except ValueError as error:\n"
        "        raise KeyError('bad') from error\n"
        "try:\n"
        "    read('[')\n"
        "except KeyError:\n"
        "    int('x')\n"
    )
    seen = cells(code)
    assert seen.stderr.count("Traceback (most recent call last):") == 3
    assert "The above exception was the direct cause" in seen.stderr
    assert "During handling of the above exception" in seen.stderr
    assert seen.stderr.count("in library code") == 1
    assert seen.stderr.endswith("ValueError: invalid literal for int() with base 10: 'x'\n")


def test_groups_of_errors_are_told(cells: Any) -> None:
    seen = cells("raise ExceptionGroup('two', [ValueError('a'), TypeError('b')])")
    assert seen.ends == ["ExceptionGroup"]
    assert "ValueError: a" in seen.stderr
    assert "TypeError: b" in seen.stderr


def test_endless_recursion_is_told_in_short(cells: Any) -> None:
    seen = cells("def f(x):\n    return sorted([x], key=f)\nf(1)")
    assert seen.ends == ["RecursionError"]
    assert len(seen.stderr.splitlines()) < 120


@pytest.mark.parametrize("code", ["x = (\n", "def f(:\n", "return 5", "x = 1\n  y = 2", "'a\n'"])
def test_a_syntax_error_shows_its_line(cells: Any, code: str) -> None:
    seen = cells(code)
    lines = seen.stderr.splitlines()
    assert seen.ends[0] in ("SyntaxError", "IndentationError")
    assert lines[0].startswith('  File "/task/cell-1.py", line ')
    assert lines[1].strip()
    assert lines[-1].startswith(f"{seen.ends[0]}: ")
    assert "Traceback" not in seen.stderr


def test_code_with_a_null_byte_is_an_error(cells: Any) -> None:
    assert cells("x = 1\0").ends[0] in ("SyntaxError", "ValueError")


def test_exits_are_left_to_the_runner(cells: Any) -> None:
    assert cells("import sys\nsys.exit(7)", "raise SystemExit").ends == [7, None]


def test_cells_share_their_variables_and_their_source(cells: Any) -> None:
    seen = cells("def half(x):\n    return x / 0", "y = 3", "half(y)", "_ = 1", "y", "_ + 1")
    assert seen.ends == ["ok", "ok", "ZeroDivisionError", "ok", "ok", "ok"]
    assert '"/task/cell-1.py", line 2, in half\n    return x / 0' in seen.stderr
    assert seen.values == ["3", "4"]


def test_display_shows_before_the_end(cells: Any) -> None:
    code = (
        "from matplotlib.figure import Figure\n"
        "figure = Figure()\nfigure.subplots().plot([1])\n"
        "display(figure)\ndisplay('a', [1, 2])\nprint('end')\n"
    )
    seen = cells(code)
    assert seen.told == [(1, "p", "figure-1.png")]
    assert seen.stdout.splitlines()[1:] == ["'a'", "[1, 2]", "end"]


def test_open_figures_become_pictures(cells: Any) -> None:
    seen = cells(
        "import matplotlib.pyplot as plt\n"
        "plt.plot([1, 4, 2])\n"
        "plt.title('first')\n"
        "plt.figure()\n"
        "plt.bar(['a', 'b'], [3, 1])\n"
        "plt.figure()\n"
    )
    assert seen.pictures == ["figure-1.png", "figure-2.png"]
    assert seen.files == {"figure-1.png", "figure-2.png"}
    assert all(seen.read(name).startswith(PNG) for name in seen.pictures)
    assert seen.stderr == ""


def test_shown_figures_are_saved_once(cells: Any) -> None:
    seen = cells(
        "import matplotlib\nmatplotlib.use('Agg')\n"
        "from matplotlib.pyplot import plot, show, close\n"
        "plot([1, 2])\nshow()\nprint('shown')\nshow(block=True)\nplot([2, 1])\n",
        "from matplotlib.figure import Figure\nfigure = Figure()\nfigure.subplots().plot([1])",
        "figure",
        "figure.axes[0]",
    )
    assert [(cell, text) for cell, kind, text in seen.told if kind == "p"] == [
        (1, "figure-1.png"),
        (1, "figure-2.png"),
        (3, "figure-3.png"),
        (4, "figure-4.png"),
    ]
    assert seen.stderr == ""


def test_an_import_that_fails_may_be_tried_again(cells: Any) -> None:
    seen = cells(
        "import sys\nsys.modules['matplotlib.widgets'] = None\nimport matplotlib.pyplot",
        "del sys.modules['matplotlib.widgets']\nimport matplotlib.pyplot as plt\nplt.plot([1])",
    )
    assert seen.ends == ["ModuleNotFoundError", "ok"]
    assert seen.pictures == ["figure-1.png"]


def test_a_figure_as_the_last_expression_is_saved_once(cells: Any) -> None:
    seen = cells("import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1])\nfig")
    assert seen.pictures == ["figure-1.png"]
    assert seen.values == ["<Figure size 640x480 with 1 Axes>"]


def test_no_file_of_the_codes_own_is_overwritten(cells: Any) -> None:
    seen = cells(
        "import matplotlib.pyplot as plt, os\n"
        "open('figure-1.png', 'w').write('mine')\n"
        "os.symlink('/etc/passwd', 'figure-2.png')\n"
        "plt.plot([1])\n"
    )
    assert seen.pictures == ["figure-3.png"]
    assert seen.read("figure-1.png") == b"mine"


def test_a_figure_that_the_code_saved_is_not_saved_again(cells: Any) -> None:
    seen = cells(
        "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.savefig('growth')\n",
        "plt.plot([1])\nplt.savefig('/dev/null', format='png')\nplt.savefig('data.pdf')\n",
    )
    assert seen.pictures == ["growth.png", "figure-1.png"]
    assert seen.files == {"growth.png", "data.pdf", "figure-1.png"}


def test_figures_of_failed_code_are_saved(cells: Any) -> None:
    seen = cells("import matplotlib.pyplot as plt\nplt.plot([1])\n1 / 0")
    assert (seen.ends, seen.pictures) == (["ZeroDivisionError"], ["figure-1.png"])


def test_a_figure_that_cannot_be_saved_fails_nothing(cells: Any) -> None:
    seen = cells("import matplotlib.pyplot as plt\nplt.plot([1])\nplt.title('$frac{$')")
    assert (seen.ends, seen.pictures) == (["ok"], [])
    assert "A picture was not made: ValueError" in seen.stderr


def test_figures_are_counted(cells: Any) -> None:
    seen = cells(
        "from matplotlib.figure import Figure\nimport matplotlib.pyplot as plt\n"
        "for n in range(55):\n    f = Figure(figsize=(1, 1)); f.text(0, 0, 'x'); f.show()\n"
    )
    assert len(seen.pictures) == 50
    assert "more than 50 in one task" in seen.stderr


def test_a_value_that_draws_itself_is_a_picture(cells: Any) -> None:
    code = (
        "class Dot:\n"
        "    def __init__(self, data): self.data = data\n"
        "    def _repr_png_(self): return self.data\n"
        "class Line:\n"
        "    def _repr_svg_(self): return '<svg/>'\n"
    )
    seen = cells(code + "Dot(b'png')", "Line()", "Dot(None)", "Dot")
    assert seen.pictures == ["figure-1.png", "figure-2.svg"]
    assert seen.read("figure-2.svg") == b"<svg/>"


PLOTLY = """
import plotly.graph_objects as go
from plotly.subplots import make_subplots
fig = make_subplots(2, 3)
fig.add_trace(go.Scatter(x=[1, 2, 3], y=[2, 1, 3], mode="lines+markers", name="line"), 1, 1)
fig.add_trace(go.Scatter(x=["2026-01-01", "2026-02-01"], y=[2, 1], name="dates"), 1, 1)
fig.add_trace(go.Bar(x=["a", "b"], y=[2, 1], name="one"), 1, 2)
fig.add_trace(go.Bar(x=["b", "c"], y=[4, 2], name="two"), 1, 2)
fig.add_trace(go.Histogram(x=[1, 2, 2, 3, 3, 3]), 1, 3)
fig.add_trace(go.Heatmap(z=[[1, 2], [3, 4]], x=["p", "q"]), 2, 1)
fig.add_trace(go.Box(y=[1, 2, 5, 9], name="box"), 2, 2)
fig.add_trace(go.Violin(y=[1, 2, 5, 9]), 2, 3)
fig.update_layout(title="All <b>traces</b>", xaxis_title="time")
"""


def test_plotly_figures_are_kept_as_json_with_a_preview(cells: Any) -> None:
    seen = cells(PLOTLY + "fig.show()", "fig", "import plotly.io\nplotly.io.show(fig)")
    names = ["figure-1.preview.png", "figure-2.preview.png", "figure-3.preview.png"]
    assert seen.stderr == ""
    assert seen.pictures == names
    assert seen.files == {*names, "figure-1.json", "figure-2.json", "figure-3.json"}
    assert len(json.loads(seen.read("figure-1.json"))["data"]) == 8
    assert seen.read(names[0]).startswith(PNG)
    assert seen.values == ["<plotly figure with 8 traces>"]
