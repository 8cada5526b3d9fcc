"""One way to choose by name: out of a table, or with an error that gives the nearest name."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def choose(name: str, value: str, table: Mapping[str, T]) -> T:
    """Look up what a word stands for.

    Parameters
    ----------
    name
        What the caller calls the argument, for the message.
    value
        The word.
    table
        What each word stands for.

    Returns
    -------
    ``table[value]``.

    Raises
    ------
    ValueError
        If the table has no such word; the message lists those it has, and the nearest one.

    Examples
    --------
    >>> choose("kernel", "local", {"global": 1, "local": 2})
    2
    >>> choose("kernel", "locall", {"global": 1, "local": 2})
    Traceback (most recent call last):
    ValueError: kernel must be one of 'global', 'local'; got 'locall'; did you mean 'local'?
    """
    if isinstance(value, str) and value in table:
        return table[value]
    message = f"{name} must be one of {', '.join(map(repr, table))}; got {value!r}"
    lower = {word.lower(): word for word in table}
    if near := difflib.get_close_matches(str(value).lower(), lower, n=1):
        message += f"; did you mean {lower[near[0]]!r}?"
    raise ValueError(message)
