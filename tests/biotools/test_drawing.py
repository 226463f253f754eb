"""The map: same bytes every time, well-formed, 1600 pixels wide, every chosen guide on it."""

import base64
import struct
from xml.etree import ElementTree

from biotools.crispr.drawing import GuideMap, MapExon, MapGuide, draw_map


def drawn(scored: bool) -> GuideMap:
    exons = [MapExon(number=1, start=100, end=200), MapExon(number=2, start=400, end=650)]
    guides = [
        MapGuide(
            id=f"g{number:03d}",
            cut=cut,
            strand="+" if number % 2 else "-",
            chosen=number in (1, 3),
            on_target_score=0.1 * number if scored else None,
            specificity=90.0 - number,
            perfect_off_targets=number % 3,
        )
        for number, cut in enumerate((110, 120, 130, 420, 500, 640))
    ]
    return draw_map(1000, "ABC", exons, guides)


def test_same_bytes_twice() -> None:
    assert drawn(True) == drawn(True)


def test_png_is_1600_wide_and_svg_is_well_formed() -> None:
    for scored in (True, False):
        picture = drawn(scored)
        png = base64.b64decode(picture.png_base64)
        assert png.startswith(b"\x89PNG")
        assert struct.unpack(">I", png[16:20])[0] == 1600
        root = ElementTree.fromstring(picture.svg)
        assert root.tag.endswith("svg")
        assert "<dc:date>" not in picture.svg
        assert "g001 (+)" in picture.svg
