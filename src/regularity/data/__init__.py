"""Data sets: photographs and counts that come with installed packages, and sets fetched from their public homes.

Bundled, never a download: :func:`photograph`, :func:`load_photographs`, :func:`photograph_names`, with
:func:`block_mean` and :func:`centre_crop` to bring them to size; counts, :func:`load_star98` and
:func:`load_rand_health`; what jumps, :func:`load_nile` and :func:`load_disparity`.

Fetched, checked by SHA-256 and cached: :func:`load_mnist`, :func:`load_bsd68`, :func:`load_set12`,
:func:`load_tiny_shakespeare`. The environment variable ``REGULARITY_DATA`` names a folder that holds the files
already (a local mirror), and ``REGULARITY_CACHE`` the folder that keeps what was downloaded.

Images are float32 tensors with intensities in [0, 1]. Importing this package loads no torch: the functions
are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regularity.data.counts import load_rand_health, load_star98
    from regularity.data.discontinuities import load_disparity, load_nile
    from regularity.data.fetched import load_bsd68, load_mnist, load_set12, load_tiny_shakespeare
    from regularity.data.photographs import (
        block_mean,
        centre_crop,
        load_photographs,
        photograph,
        photograph_names,
    )

__all__ = [
    "block_mean",
    "centre_crop",
    "load_bsd68",
    "load_disparity",
    "load_mnist",
    "load_nile",
    "load_photographs",
    "load_rand_health",
    "load_set12",
    "load_star98",
    "load_tiny_shakespeare",
    "photograph",
    "photograph_names",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = {
        "load_bsd68": "fetched",
        "load_disparity": "discontinuities",
        "load_mnist": "fetched",
        "load_nile": "discontinuities",
        "load_rand_health": "counts",
        "load_set12": "fetched",
        "load_star98": "counts",
        "load_tiny_shakespeare": "fetched",
    }.get(name, "photographs")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
