"""Figures of matplotlib and plotly, saved under `/task/output` and announced as pictures.

Loaded by `notebook.py` inside the sandbox once user code has imported one of the two. A figure is
saved once: when it is shown, or when it is still open at the end; one that the code has saved as
a picture there itself is announced under that name. No name of the code's own is overwritten.

A plotly figure is kept whole as JSON. Its picture is made by kaleido where that is there, else it
is a preview of the common traces, drawn by matplotlib and named so. There is no HTML: without
a network it would have to carry 4.5 MB of script; `write_html` still makes it for who asks.
"""

# the sandbox's tools keep to os, which is loaded
# ruff: noqa: PTH113, PTH118, PTH123
from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

OUTPUT = os.environ.get("UAOL_OUTPUT", "/task/output")
FIGURES = 50
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")
SUFFIXES = (".png", ".svg", ".json", ".preview.png")
OWN_FILE = "_uaol_file"


class Album:
    """The pictures so far; `watch` is the notebook's, which knows whom to tell."""

    def __init__(self) -> None:
        self.watch: Any = None
        self.number = self.count = 0

    def new_stem(self) -> str:
        """`figure-N`, of which there is no file yet. Raises OSError after too many."""
        self.count += 1
        if self.count > FIGURES:
            raise OSError(f"more than {FIGURES} in one task")
        while True:
            self.number += 1
            stem = f"figure-{self.number}"
            if not any(os.path.lexists(os.path.join(OUTPUT, stem + end)) for end in SUFFIXES):
                return stem

    def keep(self, name: str, data: bytes, *, is_picture: bool = True) -> None:
        """Write a new file, and announce it if it is a picture."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(os.path.join(OUTPUT, name), flags, 0o644), "wb") as file:
            file.write(data)
        if is_picture:
            self.announce(name)

    def announce(self, name: str) -> None:
        """Tell of a picture that lies in the output folder."""
        self.watch.emit("p", name)


album = Album()


def start(watch: Any) -> None:
    """Tell of pictures through `watch.emit`."""
    album.watch = watch


def attempt(save: Callable[..., None], *values: Any) -> None:
    """Save a picture; that it cannot be is told, and does not fail the code."""
    try:
        save(*values)
    except Exception as error:  # noqa: BLE001 - whatever a drawing library raises
        sys.stderr.write(f"A picture was not made: {type(error).__name__}: {error}\n")


def show(value: Any) -> str | None:
    """Save a value that is a picture; the text to show for it, if that is not its `repr`."""
    plotly = sys.modules.get("plotly.basedatatypes")
    if plotly and isinstance(value, plotly.BaseFigure):
        attempt(save_plotly, value)
        return f"<plotly figure with {len(value.data)} traces>"
    if figure := figure_of(value):
        if figure not in open_figures():
            attempt(save_figure, figure)
    else:
        attempt(save_drawn, value)
    return None


def save_drawn(value: Any) -> None:
    """Save what the value draws of itself, as the notebook's `_repr_png_` or `_repr_svg_`."""
    for method, end in (("_repr_png_", ".png"), ("_repr_svg_", ".svg")):
        draw = getattr(type(value), method, None)
        drawn = draw(value) if draw else None
        if isinstance(drawn, tuple):
            drawn = drawn[0]
        if isinstance(drawn, str) and end == ".svg":
            drawn = drawn.encode()
        if isinstance(drawn, bytes):
            album.keep(album.new_stem() + end, drawn)
            return


# matplotlib


def hook_pyplot(pyplot: ModuleType) -> None:
    """Save figures where the code means to show them, and notice which ones it saves itself."""
    from functools import wraps

    figure_class: Any = sys.modules["matplotlib.figure"].Figure
    savefig = figure_class.savefig

    @wraps(savefig)
    def save(self: Any, fname: Any, *args: Any, **options: Any) -> Any:
        result = savefig(self, fname, *args, **options)
        if name := output_name(fname):
            setattr(self, OWN_FILE, name)
        return result

    def show_all(*_: Any, **__: Any) -> None:
        """Save every open figure, and close it."""
        sweep()

    figure_class.savefig = save
    figure_class.show = lambda self, warn=True: attempt(save_figure, self)
    pyplot.show = show_all  # type: ignore[attr-defined]


def output_name(target: Any) -> str | None:
    """The name in the output folder of a picture that was saved to `target`, or None."""
    if not isinstance(target, str | os.PathLike):
        return None
    path = os.path.abspath(os.fspath(target))  # noqa: PTH100
    if not os.path.splitext(path)[1]:  # noqa: PTH122
        path += "." + sys.modules["matplotlib"].rcParams["savefig.format"]
    folder, _, name = path.rpartition("/")
    is_there = folder == OUTPUT and name.lower().endswith(PICTURES) and os.path.isfile(path)
    return name if is_there else None


def managers() -> list[Any]:
    """What pyplot holds of each open figure, in the order of their numbers."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    found = helpers.Gcf.get_all_fig_managers() if helpers else []
    return sorted(found, key=lambda manager: manager.num)


def open_figures() -> list[Any]:
    """The figures that will be saved at the end."""
    return [manager.canvas.figure for manager in managers()]


def figure_of(value: Any) -> Any:
    """The figure that a value is, or is part of as its axes are, or None."""
    drawing = sys.modules.get("matplotlib.figure")
    if drawing is None:
        return None
    if isinstance(value, drawing.Figure):
        return value
    axes = sys.modules["matplotlib.axes"].Axes
    return value.get_figure() if isinstance(value, axes) else None


def sweep() -> None:
    """Save and close the open figures."""
    figures = open_figures()
    for figure in figures:
        # one that was only made is not worth a picture
        if figure.axes or figure.texts or figure.images or figure.lines:
            attempt(save_figure, figure)
    if figures:
        sys.modules["matplotlib.pyplot"].close("all")


def save_figure(figure: Any) -> None:
    """Save one figure, unless the code has."""
    name = getattr(figure, OWN_FILE, None)
    if name and os.path.isfile(os.path.join(OUTPUT, name)):
        album.announce(name)
        return
    data = io.BytesIO()
    figure.savefig(data, format="png", bbox_inches="tight")
    album.keep(album.new_stem() + ".png", data.getvalue())


# plotly


def hook_plotly(renderers: ModuleType) -> None:
    """Save figures where the code means to show them; nothing is asked of a browser."""

    def show_one(fig: Any, *_: Any, **__: Any) -> None:
        """Save a figure, given as such or as a dict."""
        if isinstance(fig, dict):
            from plotly.graph_objects import Figure

            fig = Figure(fig)
        attempt(save_plotly, fig)

    renderers.show = show_one  # type: ignore[attr-defined]


def save_plotly(figure: Any) -> None:
    """Save the figure as JSON, and a picture of it where one can be drawn."""
    stem = album.new_stem()
    album.keep(f"{stem}.json", figure.to_json().encode(), is_picture=False)
    if data := kaleido_picture(figure):
        album.keep(f"{stem}.png", data)
    elif data := album.watch.tool("preview").preview(figure):
        album.keep(f"{stem}.preview.png", data)


def kaleido_picture(figure: Any) -> bytes | None:
    """The true picture, where kaleido and the browser that it needs are there."""
    from importlib.util import find_spec

    if find_spec("kaleido") is None:
        return None
    try:
        data: bytes = figure.to_image(format="png")
    except Exception:  # noqa: BLE001 - no browser, no right to start one, and so on
        return None
    return data
