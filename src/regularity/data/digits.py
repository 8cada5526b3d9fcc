"""Handwritten digits that come inside scikit-learn: the small set on which chapters run by default."""

import sklearn.datasets
import torch
from jaxtyping import Float, Int
from torch import Tensor


def load_digits() -> tuple[Float[Tensor, "1797 8 8"], Int[Tensor, " 1797"]]:
    """Load 1,797 handwritten digits of 8 × 8 pixels.

    Returns
    -------
    images
        Intensities in [0, 1], float32: sixteenths, which float32 holds exactly; ink bright on black.
    labels
        The digits 0 to 9, int64.

    References
    ----------
    Alpaydin and Kaynak (1998), Optical recognition of handwritten digits, UCI Machine Learning Repository,
    doi:10.24432/C50P49; scikit-learn holds its test set.

    Examples
    --------
    >>> images, labels = load_digits()
    >>> labels[:10]
    tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    bunch = sklearn.datasets.load_digits()
    return torch.tensor(bunch.images / 16, dtype=torch.float32), torch.tensor(bunch.target).long()
