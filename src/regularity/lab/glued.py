"""Numbers, words and figures that the prose cites from where they were computed.

What is glued is an ordinary output of the cell, marked as MyST-NB reads it. Neither MyST-NB nor nbformat is needed
in the kernel.
"""

import base64
from io import BytesIO
from typing import TYPE_CHECKING

from regularity.lab.estimates import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFIX = "application/papermill.record/"


def glue(name: str, value: "float | str | Estimate | Figure", spec: str = ".2f", unit: str = "") -> None:
    """Keep a number, a text or a figure for the prose of this page.

    A number or text is cited as {glue:text}`name`, a figure stands where the directive {glue:figure} names it.

    Parameters
    ----------
    name
        Unique on the page: "gain".
    value
        A number, a text, an `Estimate` (written with its error and unit), or a matplotlib figure, which is closed.
    spec
        Python's format specification of a number.
    unit
        Appended to a number after a space that does not break.

    Raises
    ------
    TypeError
        If `value` is none of these.
    """
    from IPython.display import display

    if hasattr(value, "savefig"):
        bundle, prefix = _picture(value), ""
    else:
        bundle, prefix = {f"{PREFIX}text/plain": _words(value, spec, unit)}, PREFIX
    display(bundle, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": prefix}})


def _words(value: float | str | Estimate, spec: str, unit: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Estimate):
        return str(value).replace(" ", "\N{NO-BREAK SPACE}")
    try:
        text = format(value, spec).replace("-", "−")
    except (TypeError, ValueError):
        raise TypeError(f"value must be a number, a text, an Estimate or a figure; got {value!r}") from None
    return f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text


def _picture(figure: "Figure") -> dict[str, str]:
    import matplotlib.pyplot as plt

    picture = BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    plt.close(figure)
    width, height = (round(side * figure.dpi) for side in figure.get_size_inches())
    words = f"<Figure of {width}x{height} pixels with {len(figure.axes)} axes>"
    return {"text/plain": words, "image/png": base64.b64encode(picture.getvalue()).decode()}
