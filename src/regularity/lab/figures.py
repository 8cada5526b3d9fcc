"""One figure style for the whole book: its width, type, colours, and what they mean.

The method stands in `ACCENT`, its baselines in `BASELINE` grey, further series in `PALETTE`: Okabe and Ito's
colours, which readers with any colour vision tell apart. Figures keep a light ground in both modes of the site.
"""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib import cycler
from matplotlib.figure import Figure

ACCENT = "#0072B2"
BASELINE = "#767676"
PALETTE = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WIDTH = 7.0

_STYLE: dict[str, Any] = {
    "figure.dpi": 144,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.bbox": "tight",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same everywhere
    "mathtext.fontset": "dejavusans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.grid": False,
    "axes.prop_cycle": cycler(color=[ACCENT, *PALETTE]),
    "grid.color": "#DDDDDD",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
}


def use_book_style() -> None:
    """Set matplotlib to the book's style, for the session."""
    plt.rcParams.update(_STYLE)


def figure(
    n_rows: int = 1, n_columns: int = 1, *, height: float | None = None, **subplots_options: Any
) -> tuple[Figure, Any]:
    """Open a figure of the book's width.

    Parameters
    ----------
    n_rows, n_columns
        Rows and columns of axes.
    height
        In inches; None: 2.6 a row.
    subplots_options
        Passed to `matplotlib.pyplot.subplots`.

    Returns
    -------
    figure
        For `lab.glue`.
    axes
        One axes, or an array of them, as `matplotlib.pyplot.subplots` gives.
    """
    size = (WIDTH, 2.6 * n_rows if height is None else height)
    return plt.subplots(n_rows, n_columns, figsize=size, **subplots_options)
