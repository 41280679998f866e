"""Figures: written as SVG and PDF, the same bytes for the same records, tagged by method, safe
inside a page."""

import itertools
import re

import numpy as np
import pytest

from reports.figures import style
from reports.figures.groups import draw_all, gains
from reports.groups import Line, arrange, collect
from reports.significance import Significance, ranks
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
    looks = style.palette({entry.method: entry.spec.method.name for entry in entries})
    return {
        drawing.name: drawing
        for drawing in draw_all(groups, significance, looks, folder, ranks(groups))
    }, looks


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("figures")
    for setting in (partial(0.1), partial(0.9), ZERO_SHOT, LONG_TAIL):
        for method in ("coop", "dualcoop", "zero_shot_clip"):
            for seed in (0, 1) if setting["name"] == "partial" else (0,):
                write_run(out, specification(method, setting, seed), images=60)
    return out, *draw(out, out / "figures")


def test_every_family_has_its_figures_in_both_formats(drawn):
    out, drawings, _ = drawn
    kinds = {name.split("_")[0] for name in drawings}
    assert kinds == {"curve", "groups", "unseen", "classes", "cost", "differences"}
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
        for label, look in looks.items():  # what is gained over zero-shot CLIP leaves it out
            shown = f"method-{look.index}-" in drawing.svg
            assert shown == (label != "zero_shot_clip" or not name.startswith("classes")), name
    curve = drawings["curve_partial_pictograms_pocket-RN"]
    page = style.inline(curve.svg, curve.caption, curve.marks)
    # 3 methods × 2 rates × 2 seeds
    assert len(re.findall(r'<use class="run" data-run="[0-9a-f]{12}"', page)) == 12
    assert 'role="img" aria-label="mAP against known labels' in page
    assert re.search(r"<title>coop, 10 %, seed 1: \d\d\.\d\d</title>", page)
    assert "http" not in page and "currentColor" in page and 'id="method' not in page


def test_colours_are_fixed_and_distinct():
    few, many = (
        style.palette({"DualCoOp": "dualcoop", "coop": "coop"}),
        style.palette(
            {"DualCoOp": "dualcoop", "coop": "coop", "coop (x=1)": "coop"}
            | {f"method {k}": f"m{k}" for k in range(12)}
        ),
    )
    assert (
        few["DualCoOp"].colour == many["DualCoOp"].colour
        and few["coop"].colour == many["coop"].colour
    )
    assert len({look.colour for look in list(many.values())[:14]}) >= 12
    assert len({(look.colour, look.marker) for look in many.values()}) == len(many)


def test_twelve_methods_are_told_apart_by_every_eye():
    """Colours by CIE's ΔE (a just noticeable difference is about 2.3), without red or without green
    receptors by Machado et al. (2009, severity 1)."""
    names = dict.fromkeys(("dualcoop", "lm_clip", "coop", "linear_probe", "zero_shot_clip"))
    looks = list(
        style.palette({m: m for m in names} | {f"m{k}": f"m{k}" for k in range(7)}).values()
    )
    eyes = {
        "ordinary": (25, np.eye(3)),
        "deutan": (
            15,
            [[0.3673, 0.8606, -0.2279], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
        ),
        "protan": (
            15,
            [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
        ),
    }
    assert len({look.marker for look in looks}) == 12
    for eye, (least, matrix) in eyes.items():
        seen = [lab(np.clip(np.asarray(matrix) @ linear(look.colour), 0, 1)) for look in looks]
        nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
        assert nearest > least, eye


def linear(colour):
    """Linear RGB (3,) of an sRGB hex colour."""
    values = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear RGB under D65."""
    to_xyz = [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]
    x, y, z = np.cbrt(np.maximum(np.asarray(to_xyz) @ rgb / [0.9505, 1, 1.0888], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_hostile_names_are_text(tmp_path):
    for text in (HOSTILE["tag"], HOSTILE["quotes"], HOSTILE["rtl"], "$x_1$"):
        write_run(tmp_path, specification("coop", partial(0.5), init=text), images=40)
    drawings, looks = draw(tmp_path, tmp_path / "figures")
    svg = next(iter(drawings.values())).svg
    assert "<script" not in svg and "&lt;script" in svg and len(looks) == 4


def test_ranks_count_data_sets_not_label_rates(tmp_path):
    """Nine nested rates on two data sets are two blocks, too few for a diagram; six are enough."""
    for dataset in ("pictograms", "digits"):
        for k in range(1, 10):
            for method in ("coop", "dualcoop", "lm_clip"):
                write_run(tmp_path, specification(method, partial(k / 10, dataset)), images=30)
    found, why = ranks(arrange(collect([tmp_path])))
    assert found is None and "needs 5 data set × setting blocks, there are 2" in why
    for setting in (ZERO_SHOT, LONG_TAIL, {**LONG_TAIL, "dataset": "voc_mlt"}):
        for method in ("coop", "dualcoop", "lm_clip"):
            write_run(tmp_path, specification(method, setting), images=30)
    write_run(tmp_path, specification("linear_probe", LONG_TAIL), images=30)
    found, why = ranks(arrange(collect([tmp_path])))
    assert found.blocks == 5 and found.methods == ("coop", "dualcoop", "lm_clip")
    assert "label rates averaged" in why and "Left out" in why and "linear_probe" in why


def test_classes_are_shown_by_their_gain_over_zero_shot(tmp_path):
    for method in ("coop", "zero_shot_clip"):
        write_run(tmp_path, specification(method, partial(0.5)), images=60)
    (group,) = arrange(collect([tmp_path]))
    coop, zero = (
        next(r for r in group.usable if r.method == m) for m in ("coop", "zero_shot_clip")
    )
    x, y = gains(group, Line("last", "coop"))
    assert np.allclose(y, coop.average_precision - zero.average_precision)
    assert x.tolist() == coop.record["task"]["known_positives"]
