"""Colours, sizes and axis titles used by every figure, said once."""

from __future__ import annotations

from typing import Any

# Okabe and Ito's palette without its yellow, which is too pale for lines on white: told apart
# with any common colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")

GYRUS = "#DEDEDE"
SULCUS = "#A0A0A0"
INK = "#1A1A1A"
TRUTH = "#19E6C1"
GLASS = "#8A94A6"
REGION = "#0072B2"  # where a source may be, by the bootstrap
PAINT = "#CC4778"  # the middle of the colours of amplitudes: a patch in the legend

# Perceptually uniform and never grey, so that no amplitude is mistaken for cortex.
SEQUENTIAL = "plasma"
DIVERGING = "RdYlBu_r"

#: Columns of a table of sources that can colour or size its spheres, with the colour bar's title.
MEASURES = {
    "peak_nAm": "Peak amplitude (nAm)",
    "sd_nAm": "Posterior standard deviation (nAm)",
    "log_evidence": "Log evidence (nats)",
    "peak_s": "Time of the peak (s)",
    "method": "Method",
    "group_source": "Group source",
}
#: Measures whose colour scale starts at zero.
FROM_ZERO = ("peak_nAm", "sd_nAm", "log_evidence")

#: Units of an estimate, with the colour bar's title and what A·m or the values are multiplied by.
UNITS = {
    "percent": ("Magnitude (% of the largest)", None),
    "nAm": ("Magnitude (nAm)", 1e9),
    "dimensionless": ("Magnitude (dimensionless)", 1.0),
}

#: Figures on paper and on screen: sizes in points.
RC: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}


def line(index: int) -> dict[str, Any]:
    """Return colour and line style of the ``index``-th curve, distinct for the first 28."""
    style = LINE_STYLES[index // len(PALETTE) % len(LINE_STYLES)]
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": style}
