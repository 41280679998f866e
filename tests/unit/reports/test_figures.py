"""Figures: written as SVG and PDF, the same bytes for the same records, tagged by method, safe
inside a page."""

import re

import pytest

from reports.figures import style
from reports.figures.groups import draw_all
from reports.groups import arrange, collect
from reports.significance import Significance
from tests.fixtures.synthetic_records import (
    HOSTILE,
    LONG_TAIL,
    ZERO_SHOT,
    partial,
    specification,
    write_run,
)


def draw(out, folder):
    entries = collect([out])
    groups = arrange(entries)
    significance = Significance(out / "cache")
    significance.prepare(groups)
    looks = style.palette(list({entry.method for entry in entries}))
    return {
        drawing.name: drawing for drawing in draw_all(groups, significance, looks, folder)
    }, looks


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("figures")
    for setting in (partial(0.1), partial(0.9), ZERO_SHOT, LONG_TAIL):
        for method in ("coop", "dualcoop"):
            for seed in (0, 1) if setting["name"] == "partial" else (0,):
                write_run(out, specification(method, setting, seed), images=60)
    return out, *draw(out, out / "figures")


def test_every_family_has_its_figures_in_both_formats(drawn):
    out, drawings, _ = drawn
    kinds = {name.split("_")[0] for name in drawings}
    assert kinds == {"curve", "groups", "unseen", "classes", "cost", "differences", "ranks"}
    for name in drawings:
        assert (out / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (out / "figures" / f"{name}.svg").read_text().rstrip().endswith("</svg>")


def test_the_same_records_give_the_same_bytes(drawn, tmp_path):
    out, drawings, _ = drawn
    draw(out, tmp_path)
    for name in drawings:
        for ending in ("svg", "pdf"):
            assert (tmp_path / f"{name}.{ending}").read_bytes() == (
                out / "figures" / f"{name}.{ending}"
            ).read_bytes()


def test_shapes_carry_their_method_and_dots_their_run(drawn):
    _, drawings, looks = drawn
    for name, drawing in drawings.items():
        for look in looks.values():
            assert f"method-{look.index}-" in drawing.svg, name
    page = style.inline(drawings["curve_partial_pictograms_pocket-RN"].svg)
    # 2 methods × 2 rates × 2 seeds
    assert len(re.findall(r'class="m m\d run" data-run="[0-9a-f]{12}"', page)) == 8
    assert "http" not in page and "currentColor" in page and 'id="method' not in page


def test_colours_are_fixed_and_distinct():
    few, many = (
        style.palette(["dualcoop", "coop"]),
        style.palette(["a", "b", "coop", "dualcoop", "coop(x=1)", "zzz"]),
    )
    assert (
        few["dualcoop"].colour == many["dualcoop"].colour
        and few["coop"].colour == many["coop"].colour
    )
    assert len({look.colour for look in many.values()}) == len(many)


def test_hostile_names_are_text(tmp_path):
    for text in (HOSTILE["tag"], HOSTILE["quotes"], HOSTILE["rtl"], "$x_1$"):
        write_run(tmp_path, specification("coop", partial(0.5), template=text), images=40)
    drawings, looks = draw(tmp_path, tmp_path / "figures")
    svg = next(iter(drawings.values())).svg
    assert "<script" not in svg and "&lt;script" in svg and len(looks) == 4
