"""Data sets: photographs and counts that come with installed packages, and sets fetched from their public homes.

Bundled, never a download: handwritten digits, :func:`load_digits`; :func:`photograph`, :func:`load_photographs`,
:func:`photograph_names`, with :func:`block_mean` and :func:`centre_crop` to bring them to size; counts,
:func:`load_star98` and :func:`load_rand_health`; what jumps, :func:`load_nile` and :func:`load_disparity`.

Fetched, checked by SHA-256 and cached: :func:`load_mnist`, :func:`load_cifar`, :func:`load_bsd68`,
:func:`load_set12`, :func:`load_tiny_shakespeare`. The environment variable ``REGULARITY_DATA`` names a folder that
holds the files already (a local mirror), and ``REGULARITY_CACHE`` the folder that keeps what was downloaded.

Images are float32 tensors with intensities in [0, 1]. Importing this package loads no torch: the functions
are imported when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "counts": ["load_rand_health", "load_star98"],
        "digits": ["load_digits"],
        "discontinuities": ["load_disparity", "load_nile"],
        "fetched": ["load_bsd68", "load_cifar", "load_mnist", "load_set12", "load_tiny_shakespeare"],
        "photographs": ["block_mean", "centre_crop", "load_photographs", "photograph", "photograph_names"],
    },
)
