"""A plain picture of a plotly figure, drawn by matplotlib: the common traces, nothing fine.

Loaded by `figures.py` inside the sandbox where nothing there can draw the figure itself. It says
of itself that it is a preview, and which kinds of traces it left out.
"""

from __future__ import annotations

import io

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def preview(figure: Any) -> bytes | None:
    """The figure's common traces drawn by matplotlib, with a word on what is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    traces = list(figure.data)
    places = list(dict.fromkeys(place(trace) for trace in traces)) or [("x", "y")]
    columns = 1 if len(places) == 1 else 2
    rows = -(-len(places) // columns)
    paper = Figure(figsize=(6.4 * columns, 4.4 * rows), layout="constrained")
    grid = paper.subplots(rows, columns, squeeze=False).flat
    left_out: list[str] = []
    for axes, where in zip(grid, places, strict=False):
        left_out += draw(axes, [trace for trace in traces if place(trace) == where], figure.layout)
        label(axes, figure.layout, where)
    for axes in paper.axes:
        if not axes.has_data():
            axes.set_axis_off()
    title = got(figure.layout, "title", "text")
    note = f"preview; not drawn: {', '.join(dict.fromkeys(left_out))}" if left_out else "preview"
    paper.suptitle(f"{plain(title)}  [{note}]".strip(), fontsize="medium")
    data = io.BytesIO()
    paper.savefig(data, format="png")
    return data.getvalue()


def got(thing: Any, *names: str) -> Any:
    """A property of plotly's, or None where there is no such one."""
    for name in names:
        try:
            thing = thing[name]
        except Exception:  # noqa: BLE001 - plotly has its own kinds of a missing key
            return None
    return thing


def place(trace: Any) -> tuple[str, str]:
    """The pair of axes that a trace is drawn on."""
    return got(trace, "xaxis") or "x", got(trace, "yaxis") or "y"


def plain(text: Any) -> str:
    """Text without the HTML that plotly allows in it."""
    import re

    return re.sub(r"<[^>]*>", " ", text) if text else ""


def label(axes: Any, layout: Any, where: tuple[str, str]) -> None:
    """Titles and scales of a pair of axes."""
    for side, name in zip("xy", where, strict=True):
        options = got(layout, f"{side}axis{name[1:]}")
        getattr(axes, f"set_{side}label")(plain(got(options, "title", "text")))
        if got(options, "type") == "log":
            getattr(axes, f"set_{side}scale")("log")
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend()


def draw(axes: Any, traces: list[Any], layout: Any) -> list[str]:
    """Draw what can be drawn; the types of what cannot."""
    left_out = []
    bars = [trace for trace in traces if trace.type == "bar"]
    if bars:
        draw_bars(axes, bars, is_stacked=got(layout, "barmode") in ("stack", "relative"))
    for trace in traces:
        drawer = DRAWERS.get(trace.type)
        if drawer:
            drawer(axes, trace)
        elif trace.type != "bar":
            left_out.append(trace.type)
    return left_out


def values(trace: Any, name: str) -> list[Any]:
    """One of the trace's columns; dates that are text as dates."""
    column = got(trace, name)
    found = [] if column is None else list(column)
    if found and isinstance(found[0], str) and found[0][:4].isdigit() and "-" in found[0]:
        import numpy as np

        try:
            return list(np.array(found, dtype="datetime64[s]"))
        except ValueError:
            return found
    return found


def colour(trace: Any, *names: str) -> Any:
    """The colour that the trace asks for, where matplotlib knows it too."""
    from matplotlib.colors import is_color_like

    asked = got(trace, *names)
    return asked if isinstance(asked, str) and is_color_like(asked) else None


def draw_points(axes: Any, trace: Any) -> None:
    """A scatter trace: lines, markers, or both."""
    y = values(trace, "y")
    x = values(trace, "x") or list(range(len(y)))
    mode = got(trace, "mode") or ("lines+markers" if len(y) < 20 else "lines")
    line, marker = ("-" if "lines" in mode else ""), ("o" if "markers" in mode else "")
    asked = colour(trace, "line", "color") or colour(trace, "marker", "color")
    axes.plot(x, y, linestyle=line, marker=marker, color=asked, label=got(trace, "name"))


def draw_bars(axes: Any, traces: list[Any], *, is_stacked: bool) -> None:
    """Bar traces that share their axes: beside each other, or one on the other."""
    is_flat = got(traces[0], "orientation") == "h"
    names, sizes = ("y", "x") if is_flat else ("x", "y")
    columns = [values(trace, names) or list(range(len(values(trace, sizes)))) for trace in traces]
    labels = list(dict.fromkeys(str(name) for column in columns for name in column))
    places = {name: number for number, name in enumerate(labels)}
    width = 0.8 if is_stacked else 0.8 / len(traces)
    below = [0.0] * len(labels)
    bar, start = (axes.barh, "left") if is_flat else (axes.bar, "bottom")
    for number, (trace, column) in enumerate(zip(traces, columns, strict=True)):
        shift = 0.0 if is_stacked else (number - (len(traces) - 1) / 2) * width
        heights = values(trace, sizes)
        at = [places[str(name)] for name in column]
        base = {start: [below[where] for where in at]} if is_stacked else {}
        asked = colour(trace, "marker", "color")
        bar([where + shift for where in at], heights, width, label=got(trace, "name"),
            color=asked, **base)  # fmt: skip
        for where, height in zip(at, heights, strict=False):
            below[where] += float(height or 0)
    name_ticks(axes, "y" if is_flat else "x", labels)


def name_ticks(axes: Any, side: str, labels: list[str]) -> None:
    """Label the places 0, 1, ... with names, at most about twenty of them."""
    step = -(-len(labels) // 20) or 1
    getattr(axes, f"set_{side}ticks")(range(0, len(labels), step), labels[::step])


def draw_histogram(axes: Any, trace: Any) -> None:
    """A histogram trace."""
    is_flat = got(trace, "x") is None
    found = values(trace, "y" if is_flat else "x")
    bins = got(trace, "nbinsy" if is_flat else "nbinsx") or "auto"
    if found and isinstance(found[0], str):
        bins = len(set(found))
    axes.hist(found, bins=bins, alpha=0.7, label=got(trace, "name"),
              orientation="horizontal" if is_flat else "vertical")  # fmt: skip


def draw_heatmap(axes: Any, trace: Any) -> None:
    """A heat map with its scale."""
    image = axes.imshow(got(trace, "z"), aspect="auto", origin="lower")
    axes.figure.colorbar(image, ax=axes)
    for side in "xy":
        if labels := values(trace, side):
            name_ticks(axes, side, [str(label) for label in labels])


def draw_box(axes: Any, trace: Any) -> None:
    """A box for the trace, beside those that are there, or one for each of its groups."""
    is_flat = got(trace, "y") is None
    found, names = values(trace, "x" if is_flat else "y"), values(trace, "y" if is_flat else "x")
    groups: dict[str, list[Any]] = {}
    for number, value in enumerate(found):
        name = str(names[number]) if len(names) == len(found) else str(got(trace, "name") or "")
        groups.setdefault(name, []).append(value)
    boxes = getattr(axes, "_uaol_boxes", []) + list(groups)
    axes._uaol_boxes = boxes  # noqa: SLF001 - no state but the axes'
    first = len(boxes) - len(groups)
    axes.boxplot(list(groups.values()), positions=range(first, len(boxes)), vert=not is_flat)
    name_ticks(axes, "y" if is_flat else "x", boxes)


DRAWERS: dict[str, Callable[[Any, Any], None]] = {
    "scatter": draw_points,
    "scattergl": draw_points,
    "histogram": draw_histogram,
    "heatmap": draw_heatmap,
    "box": draw_box,
}
