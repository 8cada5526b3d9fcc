"""A series and a surface that jump, inside installed packages: read from their files, without importing those."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from regularity.data.installed import packaged_file


def load_nile() -> tuple[Float[Tensor, " 100"], Float[Tensor, " 100"]]:
    """Load the yearly flow of the Nile at Aswan, 1871 to 1970: rain and then a dam brought it down around 1898.

    Returns
    -------
    years
        1871, ..., 1970; float64.
    flows
        Each year's flow, in units of 10⁸ m³; float64.

    Raises
    ------
    ModuleNotFoundError
        If statsmodels is not installed.
    FileNotFoundError
        If the installed statsmodels does not carry the file.

    References
    ----------
    Cobb (1978), The problem of the Nile: conditional solution to a changepoint problem. In the public domain.

    Examples
    --------
    >>> years, flows = load_nile()
    >>> int(years[0]), int(flows[0])
    (1871, 1120)
    """
    table = np.loadtxt(
        packaged_file("statsmodels", "datasets/nile/nile.csv", "the Nile's flow"), delimiter=",", skiprows=1
    )
    return torch.from_numpy(table[:, 0].copy()), torch.from_numpy(table[:, 1].copy())


def load_disparity() -> Float[Tensor, "500 741"]:
    """Load how far each pixel of a photograph of a motorcycle moves between two cameras: near things move most.

    Returns
    -------
    Disparities in pixels, float32: smooth on the floor and the machine, with jumps at its outline. NaN where the
    two cameras do not see the same.

    Raises
    ------
    ModuleNotFoundError
        If scikit-image is not installed.
    FileNotFoundError
        If the installed scikit-image does not carry the file.

    References
    ----------
    Scharstein et al. (2014), High-resolution stereo datasets with subpixel-accurate ground truth.

    Examples
    --------
    >>> load_disparity().shape
    torch.Size([500, 741])
    """
    with np.load(packaged_file("skimage", "data/motorcycle_disp.npz", "the disparity")) as archive:
        disparity = torch.from_numpy(archive["arr_0"])
    return torch.where(torch.isfinite(disparity), disparity, torch.nan)
