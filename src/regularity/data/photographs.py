"""Photographs that come inside scikit-image and scikit-learn: real images with nothing to download."""

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
import torch
from jaxtyping import Float
from skimage.color import rgb2gray
from skimage.io import imread
from skimage.util import img_as_float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from regularity.data.installed import packaged_file

# Where each photograph lies inside its package. The files are read directly: scikit-image's own loaders may
# reach for the network, and importing scikit-learn takes a second.
_FILES = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "brick": ("skimage", "data/brick.png"),
    "camera": ("skimage", "data/camera.png"),
    "cell": ("skimage", "data/cell.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "clock": ("skimage", "data/clock_motion.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "coins": ("skimage", "data/coins.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "grass": ("skimage", "data/grass.png"),
    "gravel": ("skimage", "data/gravel.png"),
    "hubble_deep_field": ("skimage", "data/hubble_deep_field.jpg"),
    "immunohistochemistry": ("skimage", "data/ihc.png"),
    "microaneurysms": ("skimage", "data/microaneurysms.png"),
    "moon": ("skimage", "data/moon.png"),
    "motorcycle_left": ("skimage", "data/motorcycle_left.png"),
    "motorcycle_right": ("skimage", "data/motorcycle_right.png"),
    "page": ("skimage", "data/page.png"),
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "text": ("skimage", "data/text.png"),
}


def photograph_names() -> tuple[str, ...]:
    """Name the photographs that :func:`photograph` reads.

    Returns
    -------
    The names in alphabetical order.

    Examples
    --------
    >>> photograph_names()[:4]
    ('astronaut', 'brick', 'camera', 'cell')
    """
    return tuple(_FILES)


def photograph(name: str) -> Float[Tensor, "height width"]:
    """Read one bundled photograph in grey, at its full size.

    Parameters
    ----------
    name
        One of :func:`photograph_names`.

    Returns
    -------
    Intensities in [0, 1], float32. Colour becomes luminance, 0.2125 R + 0.7154 G + 0.0721 B; the bytes are
    scaled as they are, without undoing the display's gamma.

    Raises
    ------
    ValueError
        If there is no such photograph.
    FileNotFoundError
        If the installed package does not carry the file (a distribution may have stripped it).

    References
    ----------
    The images' authors and licences: the README.txt beside the files in scikit-image's ``data`` folder and in
    scikit-learn's ``datasets/images`` folder.

    Examples
    --------
    >>> photograph("camera").shape
    torch.Size([512, 512])
    """
    if name not in _FILES:
        nearest = get_close_matches(str(name), _FILES, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are: {', '.join(_FILES)}"
        raise ValueError(f"there is no bundled photograph {name!r}; {hint}")
    package, inside = _FILES[name]
    return grey_tensor(imread(packaged_file(package, inside, f"photograph {name!r}")))


def load_photographs(names: Sequence[str], *, reduce: int = 2) -> dict[str, Float[Tensor, "_ _"]]:
    """Read several bundled photographs in grey and shrink them by block means.

    Parameters
    ----------
    names
        Names out of :func:`photograph_names`, each once.
    reduce
        Side of the square blocks that become one pixel; 1 keeps the full size.

    Returns
    -------
    The photographs by name, in the order asked for: float32 tensors (height, width) in [0, 1]. Their sizes
    differ.

    Raises
    ------
    ValueError
        If a name is unknown or comes twice, or `reduce` is not positive or exceeds a side.
    TypeError
        If `names` is one string instead of a sequence of them.

    Examples
    --------
    A very large photograph may be reduced more than the others:

    >>> images = load_photographs(["camera", "coins"]) | load_photographs(["retina"], reduce=4)
    >>> {name: tuple(image.shape) for name, image in images.items()}
    {'camera': (256, 256), 'coins': (151, 192), 'retina': (352, 352)}
    """
    if isinstance(names, str):
        raise TypeError(f"names must be a sequence of names; got the string {names!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"each photograph can be asked for once; got {list(names)}")
    return {name: block_mean(photograph(name), reduce) for name in names}


def block_mean(image: Float[Tensor, "height width"], factor: int) -> Float[Tensor, "rows columns"]:
    """Shrink an image by averaging square blocks.

    Parameters
    ----------
    image
        The image, in any units.
    factor
        Side of a block. Rows and columns that do not fill a last block are left out.

    Returns
    -------
    One mean a block: (height // factor, width // factor).

    Raises
    ------
    ValueError
        If `image` has not two axes, or `factor` is not positive or exceeds a side.

    Examples
    --------
    >>> block_mean(torch.tensor([[0.0, 2.0, 5.0, 7.0], [4.0, 6.0, 5.0, 7.0]]), 2)
    tensor([[3., 6.]])
    """
    if image.ndim != 2:
        raise ValueError(f"image must have two axes; got shape {tuple(image.shape)}")
    if not image.is_floating_point():
        image = image.to(torch.get_default_dtype())  # the mean of whole numbers is not one
    if not 1 <= factor <= min(image.shape):
        raise ValueError(f"factor must lie between 1 and the shorter side; got {factor} for {_size(image)}")
    return avg_pool2d(image[None, None], factor)[0, 0]


def centre_crop(image: Float[Tensor, "height width"], size: int) -> Float[Tensor, "size size"]:
    """Cut the square at the centre of an image.

    Parameters
    ----------
    image
        The image, in any units.
    size
        Side of the square. Where it cannot be centred exactly it lies half a pixel up or left.

    Returns
    -------
    A view of (size, size) pixels.

    Raises
    ------
    ValueError
        If `image` has not two axes, or `size` is not positive or exceeds a side.

    Examples
    --------
    >>> centre_crop(torch.arange(20.0).reshape(4, 5), 2)
    tensor([[ 6.,  7.],
            [11., 12.]])
    """
    if image.ndim != 2:
        raise ValueError(f"image must have two axes; got shape {tuple(image.shape)}")
    if not 1 <= size <= min(image.shape):
        raise ValueError(f"size must lie between 1 and the shorter side; got {size} for {_size(image)}")
    top, left = ((side - size) // 2 for side in image.shape)
    return image[top : top + size, left : left + size]


def grey_tensor(pixels: np.ndarray) -> Float[Tensor, "height width"]:
    """Turn decoded pixels into a grey image, as :func:`photograph` describes it.

    Parameters
    ----------
    pixels
        (height, width) grey or (height, width, 3 or 4) colour, integers over their type's whole range or
        floats in [0, 1]. A fourth channel (opacity) is dropped.

    Returns
    -------
    Intensities in [0, 1], float32.
    """
    grey = pixels if pixels.ndim == 2 else rgb2gray(pixels[..., :3])
    return torch.from_numpy(img_as_float(grey).astype(np.float32))


def _size(image: Tensor) -> str:
    return "x".join(str(side) for side in image.shape)
