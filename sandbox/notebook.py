"""Runs code as a notebook does, inside the sandbox: the last expression's value is shown, figures
become pictures, tracebacks begin and end in user code. Standard library only.

It is loaded by the runner into the process that becomes user code, so nothing here is a wall:
what it says through `emit` is as untrusted as the code itself. Imports are kept to none that a
cold start would notice; what deals with matplotlib and plotly is in `figures.py`, which is loaded
once user code has imported one of them.

`emit(kind, text)` is given: `v`, the value's text, at most 64 KiB; `p`, the name of a picture in
`/task/output`.
"""

# pathlib and typing would double the cold start
from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, ModuleType
    from typing import Any

    Emit = Callable[[str, str], None]

TASK = "/task/"
SHOWN_BYTES = 1 << 16
ITEMS, WIDTH, FRAMES = 1000, 80, 40
ONLY_AST = 0x400  # ast.PyCF_ONLY_AST
CUT = "\n... cut"
OWN = ("notebook.py", "figures.py", "preview.py", "usercode.py", "runner.py")
UNFIT = (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError)
# What is watched for, and what of `figures.py` is called with it once it is imported.
WATCHED = {"matplotlib.pyplot": "hook_pyplot", "plotly.io._renderers": "hook_plotly"}
DRAWERS = ("matplotlib.figure", "plotly.basedatatypes")

# Every cell so far: a function of the first may fail in the third.
sources: dict[str, str] = {}


def new_namespace(filename: str) -> dict[str, Any]:
    """The variables of a fresh `__main__`, which takes the place of the one there was.

    `display` is among the builtins, as in a notebook.
    """
    import builtins

    builtins.display = display  # type: ignore[attr-defined]
    module = type(sys)("__main__")
    module.__dict__.update(__file__=filename, __builtins__=__builtins__)
    sys.modules["__main__"] = module
    return module.__dict__


def execute(code: str, namespace: dict[str, Any], filename: str, emit: Emit) -> None:
    """Run `code` as `filename` in `namespace`, show its last expression and save its figures.

    Raises whatever the code raises, SystemExit and SyntaxError too; `show_error` tells it.
    """
    sources[filename] = code
    watch.start(emit)
    try:
        statements, last = split(code, filename)
        if statements:
            exec(statements, namespace)
        value = eval(last, namespace) if last else None
        if value is not None:
            namespace["_"] = value
            show(value, emit)
    finally:
        watch.finish()


def split(code: str, filename: str) -> tuple[CodeType | None, CodeType | None]:
    """The statements, and apart from them the last expression where its value is to be shown.

    A last line that compiles alone, after lines that do, is a statement of its own. That holds
    for most code and costs half of what a syntax tree does, which is made for the rest only.
    """
    body, _, last = code.rstrip().rpartition("\n")
    if last[:1].isspace():
        return parsed(code, filename)
    try:
        shown = compile("\n" * (body.count("\n") + bool(body)) + last, filename, "eval", 0, True)
        statements = compile(body + "\n", filename, "exec", 0, True) if body else None
    except UNFIT:
        pass  # what is wrong is told of the whole, below
    else:
        return statements, shown
    return parsed(code, filename)


def parsed(code: str, filename: str) -> tuple[CodeType | None, CodeType | None]:
    """As `split`, by the syntax tree; `_ast` is built in, `ast` would have to be loaded."""
    tree: Any = compile(code, filename, "exec", ONLY_AST, True)
    last: Any = tree.body[-1] if tree.body else None
    shown = None
    if type(last).__name__ == "Expr" and not is_silenced(code, last):
        import _ast

        tree.body.pop()
        shown = compile(_ast.Expression(last.value), filename, "eval", 0, True)
    return compile(tree, filename, "exec", 0, True), shown


def is_silenced(code: str, last: Any) -> bool:
    """Whether a semicolon follows the last expression, which asks for its value not to be shown."""
    line: bytes = code.encode().split(b"\n")[last.end_lineno - 1]
    return line[last.end_col_offset :].lstrip().startswith(b";")


def show(value: Any, emit: Emit) -> None:
    """Show a value as text, and as a picture where it is one."""
    emit("v", capped(shown(value)))


def display(*values: Any) -> None:
    """Show values before the end: their text is printed, and pictures are saved."""
    for value in values:
        print(capped(shown(value)))  # noqa: T201


def shown(value: Any) -> str:
    """A value's text, after it was saved as a picture where it is one."""
    text = None
    if any(name in sys.modules for name in DRAWERS) or is_picture(value):
        text = watch.figures().show(value)
    return text_of(value) if text is None else str(text)


def is_picture(value: Any) -> bool:
    """Whether its class draws itself, as images and molecules do."""
    return any(hasattr(type(value), name) for name in ("_repr_png_", "_repr_svg_"))


def text_of(value: Any) -> str:
    """The value's text, wrapped for reading where `repr` alone would be one long line."""
    kind = type(value)
    if kind in (str, bytes) and len(value) > SHOWN_BYTES:
        return repr(value[:SHOWN_BYTES])
    if kind in (list, tuple, dict, set, frozenset):
        return text_of_items(value)
    if kind.__module__.partition(".")[0] == "pandas" and "pandas" in sys.modules:
        wide = ("display.width", 120, "display.max_columns", 30, "display.max_colwidth", 60)
        with sys.modules["pandas"].option_context(*wide):
            return repr(value)
    return repr(value)


def text_of_items(value: Any) -> str:
    """A container, a line for each item where one line does not hold it, cut where it is long."""
    from itertools import islice

    count, left_out = len(value), ""
    if count > ITEMS:
        first = islice(value.items() if isinstance(value, dict) else value, ITEMS)
        value, left_out = type(value)(first), f"\n... {ITEMS} of {count} items"
    text = repr(value)
    if WIDTH < len(text) <= SHOWN_BYTES:
        from pprint import pformat

        text = pformat(value, width=WIDTH, compact=True, sort_dicts=False)
    return text + left_out


def capped(text: str) -> str:
    """At most `SHOWN_BYTES` of UTF-8."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= SHOWN_BYTES:
        return data.decode()
    return data[: SHOWN_BYTES - len(CUT)].decode(errors="ignore") + CUT


class Watch:
    """Notices the import of what draws, and has `figures.py` catch its figures from then on."""

    def __init__(self) -> None:
        self.emit: Emit = lambda _kind, _text: None
        self.waiting = dict(WATCHED)
        self.loaded: Any = None

    def start(self, emit: Emit | None = None) -> None:
        """Watch from here on; the runner may call this before it forks, which saves the time."""
        self.emit = emit or self.emit
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        for name in [name for name in self.waiting if name in sys.modules]:
            self.caught(sys.modules[name])

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Part of the import system: find a watched module as ever, and learn of its end."""
        hook = self.waiting.pop(name, None)
        if hook is None:
            return None
        from importlib.util import find_spec

        # which asks here again, in vain now
        spec: Any = find_spec(name)
        self.waiting[name] = hook
        if spec is None or spec.loader is None:
            return None
        execute_module = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute_module(module)
            self.caught(module)

        spec.loader.exec_module = exec_module
        return spec

    def caught(self, module: ModuleType) -> None:
        """Hook a module that was watched for, once."""
        if hook := self.waiting.pop(module.__name__, None):
            getattr(self.figures(), hook)(module)

    def figures(self) -> Any:
        """`figures.py`, which from then on tells of pictures here."""
        if self.loaded is None:
            self.loaded = self.tool("figures")
            self.loaded.start(self)
        return self.loaded

    def tool(self, name: str) -> Any:
        """A file from beside this one, under a name that no module of the user's has."""
        from importlib.util import module_from_spec, spec_from_file_location

        place, _, end = __file__.rpartition("notebook")
        spec: Any = spec_from_file_location(f"uaol_{name}", f"{place}{name}{end}")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def finish(self) -> None:
        """Save the figures that are still open."""
        if self.loaded is not None:
            self.loaded.sweep()


watch = Watch()


def show_error(error: BaseException) -> None:
    """Print an error as Python does, with the frames of user code only."""
    try:
        text = "".join(told(error))
    except MemoryError:
        text = f"{type(error).__name__}\n"
    sys.stderr.write(text)


def told(error: BaseException) -> list[str]:
    """The lines that tell an error, its causes and what it happened in."""
    import linecache
    import traceback

    for name, code in sources.items():
        # without a time of change the text is taken as it is
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    if isinstance(error, SyntaxError) and error.text is None and error.lineno:
        error.text = linecache.getline(error.filename or "", error.lineno) or None
    told = traceback.TracebackException(type(error), error, error.__traceback__)
    if isinstance(error, SyntaxError) and not any(is_users(f.filename) for f in told.stack):
        return list(told.format_exception_only())
    for each in related(told):
        each.stack = trimmed(each.stack)
    return list(told.format())


def related(told: Any) -> Iterator[Any]:
    """An exception with its cause, its context and the members of its group, each once."""
    waiting, seen = [told], set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__, *(each.exceptions or ())]


def is_users(name: str) -> bool:
    """Whether a frame's file is user code: the task, its own modules, strings that it runs."""
    if name.startswith("<"):
        return not name.startswith("<frozen")
    return name in sources or name.startswith(TASK)


def trimmed(frames: Any) -> Any:
    """The frames without the sandbox's, with a line in place of each run of a library's."""
    import traceback

    class Trimmed(traceback.StackSummary):
        def format_frame_summary(self, frame: Any, **more: Any) -> str:  # type: ignore[override]
            if not frame.filename:
                return f"  ... {frame.name}\n"
            return super().format_frame_summary(frame, **more)

    kept: list[Any] = []
    run: list[Any] = []
    for frame in frames:
        if is_users(frame.filename):
            kept += [*library(run), frame]
            run = []
        elif not frame.filename.endswith(OWN):
            run.append(frame)
    kept += library(run)
    if len(kept) > FRAMES:
        half = FRAMES // 2
        note = traceback.FrameSummary("", 0, f"{len(kept) - FRAMES} frames more", line="")
        kept[half:-half] = [note]
    return Trimmed(kept)


def library(run: list[Any]) -> list[Any]:
    """One line for frames of a library that follow each other: how many, and the last one."""
    if not run:
        return []
    last = run[-1]
    _, _, short = last.filename.replace("dist-packages", "site-packages").rpartition(
        "site-packages/"
    )
    short = short.rpartition("/lib/")[2]
    count = f"{len(run)} frames" if len(run) > 1 else "1 frame"
    text = f"{count} in library code, the last in {last.name}, {short}, line {last.lineno}"
    return [type(last)("", 0, text, line="")]
