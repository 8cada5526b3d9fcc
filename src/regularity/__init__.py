"""Regularity: methods of regularisation, one module a paper, and the book that checks them.

``import regularity`` loads neither torch nor matplotlib. The methods live in one package a part
(``regularity.stein``, ...), what they share in ``regularity.foundations``, data sets in
``regularity.data``, and what notebooks and the command line use in ``regularity.lab``.
"""

from importlib.metadata import version

__version__ = version("regularity")
__all__ = ["__version__"]
