"""Cross-fitting: predict every unit from the others, so that no prediction has seen its own observation."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regularity.foundations.checks import check_at_least


def cross_fit(
    predict: Callable[[Int[Tensor, " train"], Int[Tensor, " held_out"]], Float[Tensor, "*draws held_out"]],
    n_units: int,
    *,
    n_folds: int = 5,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*draws n"]:
    """Predict each unit by a model that was fitted without its fold.

    Parameters
    ----------
    predict
        ``predict(train, held_out)`` fits a model on the units `train` and predicts the units `held_out`, both given
        by their indices.
    n_units
        Number of units, at least `n_folds`.
    n_folds
        Number of folds, at least two.
    generator
        Source of the folds, on the CPU.

    Returns
    -------
    One prediction a unit, in the units' order.

    Raises
    ------
    ValueError
        If there are fewer than two folds or fewer units than folds.

    Examples
    --------
    The mean of the other folds; here every fold is one unit.

    >>> heights = torch.tensor([1.0, 2.0, 6.0])
    >>> cross_fit(lambda train, held_out: heights[train].mean().expand(len(held_out)), 3, n_folds=3)
    tensor([4.0000, 3.5000, 1.5000])
    """
    check_at_least("n_folds", n_folds, 2)
    if n_units < n_folds:
        raise ValueError(f"n_units must be at least n_folds={n_folds}; got {n_units}")
    order = torch.randperm(n_units, generator=generator)
    folds = order.tensor_split(n_folds)
    predictions = [predict(torch.cat(folds[:i] + folds[i + 1 :]), fold) for i, fold in enumerate(folds)]
    return torch.cat(predictions, dim=-1)[..., order.argsort()]
