"""Regularity: methods of regularisation, one module a paper, and the book that checks them.

``import regularity`` loads neither torch nor matplotlib. The methods live in one package a part
(``regularity.stein``, ...), what they share in ``regularity.foundations``, data sets in ``regularity.data``, what
notebooks use to speak to their readers in ``regularity.lab``, and what executes and prints them in
``regularity.press``.
"""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: digests are computed where the package is not installed."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("regularity")
