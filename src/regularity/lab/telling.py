"""Numbers that prose cites, and sources that stand beside their equations."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import regularity

REPOSITORY = "https://github.com/regularity-book/regularity"


class _Words:
    """Text that displays as it is, without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def glue_text(name: str, text: str) -> None:
    """Keep a text for the prose, which cites it as {glue:text}`name`.

    Parameters
    ----------
    name
        Unique in the book: "noise2score-gain".
    text
        What the prose will say.
    """
    from myst_nb import glue

    glue(name, _Words(text), display=False)


def glue_number(name: str, value: float, spec: str = ".2f", unit: str = "") -> None:
    """Keep a measured number for the prose, which cites it as {glue:text}`name`.

    Parameters
    ----------
    name
        Unique in the book: "noise2score-gain".
    value
        The number.
    spec
        Python's format specification.
    unit
        Appended after a space that does not break.
    """
    text = format(value, spec).replace("-", "−")
    glue_text(name, f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text)


def show(*objects: Callable[..., Any] | type, docstrings: bool = False) -> None:
    """Show the real source of functions or classes, highlighted, with a link to their file and lines.

    Parameters
    ----------
    objects
        Functions or classes of this package.
    docstrings
        Whether to show docstrings whole, or their first lines alone.

    Raises
    ------
    TypeError
        If an object has no Python source in this package.
    """
    from IPython.display import display

    for shown in objects:
        source, path, first, last = _source_of(shown)
        code = source if docstrings else _with_short_docstrings(source)
        where = f"{path}, lines {first}–{last}"
        link = f"[{where}]({REPOSITORY}/blob/main/{path}#L{first}-L{last})"
        bundle = {"text/plain": f"# {where}\n{code}", "text/markdown": f"```python\n{code}\n```\n\n{link}\n"}
        display(bundle, raw=True)


def _source_of(shown: Any) -> tuple[str, str, int, int]:
    """Source, path from the top of the repository, first and last line."""
    package = Path(regularity.__file__).parent
    try:
        path = Path(inspect.getsourcefile(inspect.unwrap(shown))).relative_to(package)
        lines, first = inspect.getsourcelines(shown)
    except (TypeError, OSError, ValueError):
        raise TypeError(f"objects must be functions or classes of regularity; got {shown!r}") from None
    source = textwrap.dedent("".join(lines)).rstrip()
    return source, f"src/regularity/{path.as_posix()}", first, first + len(lines) - 1


def _with_short_docstrings(source: str) -> str:
    lines = source.splitlines()
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for node in sorted(nodes, key=lambda node: node.lineno, reverse=True):
        text, statement = ast.get_docstring(node), node.body[0]
        if text is not None and statement.end_lineno > statement.lineno:
            indent = " " * statement.col_offset
            lines[statement.lineno - 1 : statement.end_lineno] = [f'{indent}"""{text.splitlines()[0]}"""']
    return "\n".join(lines)
