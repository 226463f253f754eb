"""Tool: the map of a gene with its guides, as SVG and PNG.

The same arguments give the same bytes: no date, no random ids, and Matplotlib's own fonts.
"""

import base64
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from biotools.params import Strand

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class MapExon(BaseModel):
    """A coding exon: bases [start, end) of the forward strand."""

    number: int
    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=1)]


class MapGuide(BaseModel):
    """A guide to draw; both scores are needed for it to appear in the lower panel."""

    id: str
    cut: Annotated[int, Field(ge=0)]
    strand: Strand
    label: str = ""
    chosen: bool = False
    on_target_score: float | None = None
    specificity: Annotated[float | None, Field(description="percent, higher is cleaner")] = None
    perfect_off_targets: int = 0


class GuideMap(BaseModel):
    """The picture twice: SVG text, and PNG (1600 px wide) in base64."""

    svg: str
    png_base64: str


_INK, _PALE, _BLUE, _RED = "#1f2933", "#b8c2cc", "#1c64c8", "#c81e1e"
_STYLE: Any = {
    "svg.hashsalt": "biotools",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": _INK,
    "text.color": _INK,
}
_WIDTH_INCHES, _DPI = 10.0, 160


def draw_map(
    record_length: Annotated[int, Field(ge=1)],
    gene: str,
    exons: Annotated[list[MapExon], Field(min_length=1)],
    guides: list[MapGuide],
    strand: Strand = "+",
    score_name: str = "Rule Set 3",
) -> GuideMap:
    """Draw the coding exons, every candidate as a tick and the chosen guides with their labels.

    Positions on the axis are 1-based. If guides carry scores, a second panel sets on-target score
    against specificity; guides with a perfect off-target are marked there.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scored = [g for g in guides if g.on_target_score is not None and g.specificity is not None]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, 6.4 if scored else 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(2 if scored else 1, 1, squeeze=False)[:, 0]
        _draw_gene(panels[0], record_length, gene, exons, guides, strand)
        if scored:
            _draw_scores(panels[1], scored, score_name)
        return GuideMap(svg=_svg(figure), png_base64=_png(figure))


def _draw_gene(
    axes: "Axes",
    record_length: int,
    gene: str,
    exons: list[MapExon],
    guides: list[MapGuide],
    strand: Strand,
) -> None:
    low, high = min(exon.start for exon in exons), max(exon.end for exon in exons)
    margin = max(30, (high - low) // 25)
    axes.plot([low, high], [0, 0], color=_INK, linewidth=1, zorder=1)
    for exon in exons:
        axes.broken_barh(
            [(exon.start, exon.end - exon.start)], (-0.18, 0.36), facecolor=_BLUE, zorder=2
        )
        middle = (exon.start + exon.end) / 2
        axes.text(
            middle, 0, str(exon.number), color="white", ha="center", va="center", weight="bold"
        )
    _draw_guides(axes, guides, high - low + 2 * margin)
    axes.set_xlim(max(0, low - margin), min(record_length, high + margin))
    axes.set_ylim(-1.75, 1.75)
    axes.set_yticks([0.45, -0.45], ["+ strand", "\N{MINUS SIGN} strand"])
    axes.set_xticks(_round_positions(*axes.get_xlim()))
    axes.xaxis.set_major_formatter(lambda value, _: f"{int(value) + 1:,}")
    axes.set_xlabel("position in the record (bp)")
    arrow = "\N{RIGHTWARDS ARROW}" if strand == "+" else "\N{LEFTWARDS ARROW}"
    axes.set_title(f"{gene} {arrow}  coding exons and guide cuts", loc="left", weight="bold")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _round_positions(low: float, high: float) -> list[int]:
    """0-based places of about seven positions that are round when counted from 1."""
    rough = max(1.0, (high - low) / 7)
    power = 10 ** (len(str(int(rough))) - 1)
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = -(-(int(low) + 1) // step) * step
    return [place - 1 for place in range(max(first, 1), int(high) + 1, step)]


def _draw_guides(axes: "Axes", guides: list[MapGuide], width: int) -> None:
    for side, strand in ((1, "+"), (-1, "-")):
        own = sorted((g for g in guides if g.strand == strand), key=lambda g: (g.cut, g.id))
        plain = [g.cut for g in own if not g.chosen]
        axes.vlines(plain, side * 0.28, side * 0.5, color=_PALE, linewidth=1)
        chosen = [g for g in own if g.chosen]
        places = _places([g.cut for g in chosen], width)
        for guide, (level, align) in zip(chosen, places, strict=True):
            top = side * (0.72 + 0.32 * level)
            axes.vlines(guide.cut, side * 0.18, top, color=_RED, linewidth=1.6)
            axes.text(
                guide.cut, top + side * 0.06, f"{guide.label or guide.id} ({strand})",
                color=_RED, ha=align, va="bottom" if side > 0 else "top", weight="bold",
            )  # fmt: skip


def _places(cuts: list[int], width: int) -> list[tuple[int, str]]:
    """Height and alignment of each label, so that neighbours and their stems stay apart."""
    near = width / 8
    places = []
    level = 0
    for number, cut in enumerate(cuts):
        follows = number > 0 and cut - cuts[number - 1] < near
        leads = number + 1 < len(cuts) and cuts[number + 1] - cut < near
        level = (level + 1) % 3 if follows else 0
        places.append((level, "right" if leads else "left" if follows else "center"))
    return places


def _draw_scores(axes: "Axes", guides: list[MapGuide], score_name: str) -> None:
    groups = (
        ("perfect match elsewhere", "x", _RED, [g for g in guides if g.perfect_off_targets]),
        ("candidate", "o", _PALE, [g for g in guides if not g.perfect_off_targets]),
        ("chosen", "o", _BLUE, [g for g in guides if g.chosen]),
    )
    for name, marker, colour, members in groups:
        if members:
            axes.scatter(
                [g.specificity or 0.0 for g in members],
                [g.on_target_score or 0.0 for g in members],
                marker=marker, color=colour, s=34, label=name, zorder=3 if name == "chosen" else 2,
            )  # fmt: skip
    chosen = sorted((g for g in guides if g.chosen), key=lambda g: (g.specificity or 0.0, g.id))
    for number, guide in enumerate(chosen):
        axes.annotate(
            guide.label or guide.id, (guide.specificity or 0.0, guide.on_target_score or 0.0),
            xytext=(6, -12 if number % 2 else 5), textcoords="offset points",
            color=_BLUE, weight="bold",
        )  # fmt: skip
    axes.set_xlim(0, 104)
    axes.set_xlabel("specificity in the searched background (%)")
    axes.set_ylabel(score_name)
    axes.set_title("On-target score against specificity", loc="left", weight="bold")
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)


def _svg(figure: "Figure") -> str:
    import io

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _png(figure: "Figure") -> str:
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")
