"""Reads the cells of Jupytext's py:percent files, as far as this book uses the format.

Jupytext itself reads a chapter before it is executed; it costs half a second to import and 40 ms a chapter, too much
for a list of chapters. `Pair.cells` refuses a file that the two read differently.
"""

import re
from typing import NamedTuple

_MARKER = re.compile(r"# %%(?: (?P<about>.*))?$")
_MAGIC = re.compile(r"\s*# ?%[a-zA-Z%]")


class SourceCell(NamedTuple):
    """A cell of a notebook.

    Attributes
    ----------
    kind
        "code", "markdown" or "raw".
    about
        What its marker says: tags and other metadata.
    source
        Its text, without the comment signs of Markdown.
    """

    kind: str
    about: str
    source: str

    @property
    def is_parameters(self) -> bool:
        """Whether papermill injects the parameters of a run after it."""
        return re.search(r'tags=\[[^]]*"parameters"', self.about) is not None


def read_cells(text: str) -> list[SourceCell]:
    """Split a py:percent file into its cells.

    Parameters
    ----------
    text
        The content of the file.

    Returns
    -------
    The cells, in order.

    Raises
    ------
    ValueError
        If a line is commented magic, which Jupytext would wake up: digests could not follow it.
    """
    lines = text.split("\n")
    if lines[0] == "# ---" and "# ---" in lines[1:]:
        lines = lines[lines.index("# ---", 1) + 1 :]
    cells, about, body = [], None, []
    for line in [*lines, "# %%"]:
        marker = _MARKER.match(line)
        if marker is None:
            if _MAGIC.match(line):
                raise ValueError(f"a chapter is plain Python, without magic; got {line.strip()!r}")
            body.append(line)
            continue
        if about is not None or any(body):
            cells.append(_make_cell(about or "", body))
        about, body = marker["about"] or "", []
    return cells


def _make_cell(about: str, body: list[str]) -> SourceCell:
    kind = re.search(r"\[(markdown|md|raw)\]", about)
    if kind is None:
        return SourceCell("code", about, "\n".join(body).strip("\n"))
    text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body).strip("\n")
    return SourceCell("raw" if kind[1] == "raw" else "markdown", about, text)
