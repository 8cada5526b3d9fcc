"""What is said when something is wrong that a reader can mend: one line, and the nearest right name."""

from collections.abc import Iterable
from difflib import get_close_matches

import click


class BookError(click.ClickException):
    """Something that the reader can mend; the command line says it in one line and exits with 2."""

    exit_code = 2


def nearest(name: object, names: Iterable[str]) -> str:
    """Point from a wrong name to a right one.

    Parameters
    ----------
    name
        What was given.
    names
        What there is.

    Returns
    -------
    A question with the nearest name, or the list of names.
    """
    names = list(names)
    close = get_close_matches(str(name), names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"


def one_line(error: Exception) -> str:
    """Write what an exception says in one line."""
    return " ".join(str(error).split()) or type(error).__name__
