"""Tables of results, in one style."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from regularity.lab.estimates import Estimate, format_measurement

if TYPE_CHECKING:
    from pandas import DataFrame


def table(frame: "DataFrame", specs: Mapping[str, str] | None = None) -> None:
    """Show a table of results; its index heads the rows.

    Parameters
    ----------
    frame
        The results. An `Estimate` is written with its error, another float with three significant digits.
    specs
        Format specifications of columns, by their names: {"seconds": ".1f"}.

    Raises
    ------
    ValueError
        If `specs` names a column that is not there.
    """
    from IPython.display import display

    specs = {} if specs is None else specs
    if unknown := sorted(set(specs) - set(frame.columns)):
        raise ValueError(f"specs must name columns of {list(frame.columns)}; got {unknown}")
    written = frame.copy().astype(object)
    for column in frame.columns:
        written[column] = [_cell(value, specs.get(column)) for value in frame[column]]
    written.columns.name, written.index.name = frame.index.name, None  # in one row with the other heads
    html = written.to_html(classes="results", border=0).replace(' style="text-align: right;"', "")
    display({"text/plain": written.to_string(), "text/html": html}, raw=True)


def _cell(value: object, spec: str | None) -> str:
    if spec is not None and not isinstance(value, str):
        return format(value, spec).replace("-", "−")
    if isinstance(value, Estimate):
        return str(value)
    if isinstance(value, float):
        return format_measurement(value)
    return str(value)
