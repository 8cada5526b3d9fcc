"""Steps of the usual optimisers as functions of the gradients alone, for many runs and settings side by side."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import check_finite, check_not_negative, check_positive

Update = Callable[[Tensor], Tensor]  # gradients in, changes of the parameters out; it remembers earlier ones


def heavy_ball(
    learning_rate: int | float | Float[Tensor, "*settings"],
    momentum: int | float | Float[Tensor, "*settings"] = 0.0,
) -> Update:
    """Gradient descent with momentum, as `torch.optim.SGD` has it.

    Parameters
    ----------
    learning_rate, momentum
        One number, or a tensor that broadcasts against the gradients: a column where there is a run a row.

    Returns
    -------
    ``update(gradients)``, the change of the parameters. Each call is a step, and the velocity stays with it.

    Raises
    ------
    ValueError
        If `learning_rate` is not positive, or `momentum` negative or not finite.

    References
    ----------
    Polyak (1964), Some methods of speeding up the convergence of iteration methods.

    Examples
    --------
    >>> import torch
    >>> update, x = heavy_ball(torch.tensor([[0.1], [1.0]]), momentum=0.5), torch.ones(2, 1)
    >>> for _ in range(2):
    ...     x = x + update(x)  # down x²/2, at two rates
    >>> x.flatten()
    tensor([ 0.7600, -0.5000])
    """
    check_positive("learning_rate", learning_rate)
    check_not_negative("momentum", momentum)
    check_finite("momentum", momentum)
    velocity = 0.0

    def update(gradients: Tensor) -> Tensor:
        nonlocal velocity
        velocity = momentum * velocity + gradients
        return -learning_rate * velocity

    return update


def adam(
    learning_rate: int | float | Float[Tensor, "*settings"],
    damping: int | float | Float[Tensor, "*settings"] = 1e-8,
    betas: tuple[float, float] = (0.9, 0.999),
) -> Update:
    """Adam, as `torch.optim.Adam` has it: each coordinate's step divided by the root of its mean square gradient.

    Parameters
    ----------
    learning_rate, damping
        One number, or a tensor that broadcasts against the gradients. The damping is added to the root.
    betas
        Averaging constants of the gradient and of its square.

    Returns
    -------
    ``update(gradients)``, the change of the parameters. Each call is a step, and the means stay with it.

    Raises
    ------
    ValueError
        If `learning_rate` is not positive, or `damping` negative or not finite.

    References
    ----------
    Kingma and Ba (2015), Adam: a method for stochastic optimization.
    """
    check_positive("learning_rate", learning_rate)
    check_not_negative("damping", damping)
    check_finite("damping", damping)
    first = second = 0.0
    step = 0

    def update(gradients: Tensor) -> Tensor:
        nonlocal first, second, step
        step += 1
        first = betas[0] * first + (1 - betas[0]) * gradients
        second = betas[1] * second + (1 - betas[1]) * gradients.square()
        size = (second / (1 - betas[1] ** step)).sqrt() + damping
        return -learning_rate * (first / (1 - betas[0] ** step)) / size

    return update
