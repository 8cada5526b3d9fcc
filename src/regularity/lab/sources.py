"""Sources that stand beside their equations: read out of the package when the notebook runs, never copied."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import regularity

REPOSITORY = "https://github.com/regularity-book/regularity"


def show(*objects: Callable[..., Any] | type, docstrings: bool = False) -> None:
    """Show the real source of functions or classes, highlighted, with a link to their file.

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
        source, path = _source_of(shown)
        code = source if docstrings else _with_short_docstrings(source)
        # No line numbers: a comment somewhere above would change the output of a notebook whose code is the same.
        link = f"[{path}]({REPOSITORY}/blob/main/{path})"
        bundle = {"text/plain": f"# {path}\n{code}", "text/markdown": f"```python\n{code}\n```\n\n{link}\n"}
        display(bundle, raw=True)


def _source_of(shown: Any) -> tuple[str, str]:
    """Source, and path from the top of the repository."""
    package = Path(regularity.__file__).parent
    try:
        path = Path(inspect.getsourcefile(inspect.unwrap(shown))).relative_to(package)
        source = inspect.getsource(shown)
    except (TypeError, OSError, ValueError):
        raise TypeError(f"objects must be functions or classes of regularity; got {shown!r}") from None
    return textwrap.dedent(source).rstrip(), f"src/regularity/{path.as_posix()}"


def _with_short_docstrings(source: str) -> str:
    lines = source.splitlines()
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for node in sorted(nodes, key=lambda node: node.lineno, reverse=True):
        text, statement = ast.get_docstring(node), node.body[0]
        if text is not None and statement.end_lineno > statement.lineno:
            indent = " " * statement.col_offset
            lines[statement.lineno - 1 : statement.end_lineno] = [f'{indent}"""{text.splitlines()[0]}"""']
    return "\n".join(lines)
