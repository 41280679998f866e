"""The letters of PDFs: matplotlib's own font without what labels hardly ever need.

A PDF holds the letters that it uses. To take them out of the whole font, with its tables for forty
scripts, takes longer than to draw the figure; so that is done once, for the Latin letters, Greek
and the signs of formulas. A figure with other letters gets the whole font.
"""

import functools
import os
from pathlib import Path

import matplotlib
from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib import font_manager

WHOLE, FEW = "DejaVu Sans", "DejaVu Sans of few letters"
RANGES = (range(0x20, 0x250), range(0x370, 0x400), range(0x2010, 0x2070), range(0x2190, 0x2300))
LETTERS = frozenset(chr(code) for codes in RANGES for code in codes)


def family(text: str) -> str:
    """The font family for a PDF in which at most these letters occur."""
    return _few() if LETTERS.issuperset(set(text) - {"\n"}) else WHOLE


@functools.cache
def _few() -> str:
    folder = Path(matplotlib.get_cachedir())
    path = folder / f"lowlabel-{matplotlib.__version__}.ttf"
    try:
        if not path.is_file():
            unfinished = path.with_suffix(f".{os.getpid()}")
            _few_letters().save(unfinished)
            os.replace(unfinished, path)
        font_manager.fontManager.addfont(path)
    except OSError:  # no place for it: then the whole font, slower
        return WHOLE
    return FEW


def _few_letters() -> TTFont:
    font = TTFont(font_manager.findfont(WHOLE))
    options = subset.Options()
    options.drop_tables += ["GSUB", "GPOS", "GDEF"]  # matplotlib draws without them
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=list(map(ord, LETTERS)))
    cutter.subset(font)
    for name in font["name"].names:
        if name.nameID in (1, 4):
            name.string = FEW
    return font
