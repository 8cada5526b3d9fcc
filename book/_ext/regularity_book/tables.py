"""Tables in HTML: one way to write them, for readers on any screen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes
    ----------
    head
        HTML of the cell that heads the row.
    cells
        HTML of the other cells.
    data
        What a script may ask of the row: data-<name>="<value>".
    """

    head: str
    cells: Sequence[str]
    data: Mapping[str, str] = field(default_factory=dict)


def html_table(columns: Sequence[str], rows: Iterable[Row], *, label: str, name: str, caption: str) -> str:
    """Write a table that scrolls by keyboard where it is too wide, and whose cells name their column on a phone."""
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(_row(columns, row) for row in rows)
    return (
        f'<div class="wide-table" tabindex="0" role="region" aria-label="{escape(label, quote=True)}">'
        f'<table class="stacked" id="{name}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(columns: Sequence[str], row: Row) -> str:
    data = "".join(f' data-{name}="{escape(value, quote=True)}"' for name, value in row.data.items())
    labelled = zip(columns[1:], row.cells, strict=True)
    cells = "".join(f'<td data-label="{escape(column, quote=True)}">{cell}</td>' for column, cell in labelled)
    return f'<tr{data}><th scope="row">{row.head}</th>{cells}</tr>'
