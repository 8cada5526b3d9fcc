# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tuning: learning the regulariser
#
# How strong should a penalty be? A grid answers for one or two numbers. A weight for each coefficient, filters for an
# image, a dropout rate for each layer are too many for a grid, and they need a gradient. It is the gradient of an error
# that passes through the solution of another problem. The chapters of this part compute it, one exactly enough, the other
# by learning how the solution moves.
#
# ```{gallery} tuning
# ```
#
# ## Two problems, one inside the other
#
# Let $x \in \mathbb{R}^n$ be what is fitted (an image, the weights of a network) and $\theta \in \mathbb{R}^p$ what is
# tuned. The lower objective $h$ holds the data and the regulariser, the upper objective $g$ judges the fit on data that
# were held out:
#
# $$
# \min_\theta\; f(\theta) = g\big(\hat x(\theta)\big),
# \qquad \hat x(\theta) = \arg\min_x h(x, \theta).
# $$ (bilevel)
#
# The *hypergradient* is $\nabla f$. By the chain rule it is $J^\top \nabla g(\hat x)$, where
# $J = \partial \hat x / \partial \theta$ is the Jacobian of the best response $\hat x$.
#
# ## The exact one
#
# At the minimum, $\nabla_x h(\hat x(\theta), \theta) = 0$ for every $\theta$. Differentiate this equation, with
# $A = \partial^2 h / \partial x^2$ and $B = \partial^2 h / \partial x\, \partial\theta$:
#
# $$
# A J + B = 0, \qquad \nabla f(\theta) = -B^\top A^{-1}\, \nabla g(\hat x).
# $$ (implicit-gradient)
#
# One linear system with the Hessian of the lower problem, whatever the number of hyperparameters
# ({func}`~regularity.foundations.hypergradients.implicit_hypergradient`, {cite:t}`bengio2000gradient`). $A$ is never
# formed: products $v \mapsto A v$ cost about as much as a gradient, and conjugate gradients need nothing else
# ({func}`~regularity.foundations.hypergradients.conjugate_gradients`).
#
# ## The approximate ones
#
# **Stop early.** Nobody has $\hat x$; an iterative solver gives a point near it, and conjugate gradients give a vector
# near $A^{-1}\nabla g$. Where $h$ is strongly convex, the lengths of the two residuals bound both distances, and through
# {eq}`implicit-gradient` the error of the hypergradient. So it can be known, before a step is taken, whether the step
# goes down.
#
# **Unroll.** Differentiate the solver in place of the solution: $T$ steps are a long composition, and automatic
# differentiation goes back through it ({func}`~regularity.foundations.hypergradients.unrolled_hypergradient`,
# {cite:t}`maclaurin2015gradient`). Its result is exact for the $T$-th iterate. The solution may still be far, and so may
# the gradient.
#
# **Sum a series.** $A^{-1} = s \sum_j (I - sA)^j$ for a small step $s$, and the first terms of it are products again
# ({func}`~regularity.foundations.hypergradients.neumann_series`, {cite:t}`lorraine2020optimizing`). To keep $T$ terms is
# to unroll $T$ steps from the solution.
#
# **Learn the response.** Draw $\varepsilon \sim \mathcal{N}(0, \sigma^2 I)$, and fit $w$ and $J$ so that $w + J\varepsilon$
# does well on the lower problem at $\theta + \varepsilon$. Where $h$ is quadratic in $\theta$ and $x$ together, the fitted
# $J$ is the exact one, however large $\sigma$. Elsewhere it errs by a multiple of $\sigma^2$. No Hessian appears, and no
# derivative in $\theta$, so that $\theta$ may be a dropout rate.
#
# In {numref}`fig-tuning-errors` $h$ is a ridge regression with penalties $e^{\theta_j}$. For given $\theta$ it is quadratic in $x$, so
# that $\hat x$, $J$ and even the fitted response have closed forms; in both together it is not, so that the fitted
# response is biased.

# %% tags=["hide-input"]
import math
from functools import partial

import torch

from regularity import lab
from regularity.foundations import hypergradients

session = lab.begin(seed=0)

# %%
n, d = 60, 20
draw = partial(torch.randn, generator=session.stream("data"), dtype=torch.float64)
scales = torch.logspace(0, -0.4, d, dtype=torch.float64) / math.sqrt(n)
train, validation, weights = draw(n, d) * scales, draw(n, d) * scales, draw(d)
train_targets = train @ weights + 0.3 * draw(n)
validation_targets = validation @ weights + 0.3 * draw(n)
theta = torch.full((d,), -2.0, dtype=torch.float64)


def lower(x, theta):
    """Half the squared residuals on the training rows, and the penalties."""
    residuals = train @ x - train_targets
    return (residuals.square().sum() + (theta.exp() * x.square()).sum()) / 2


def lower_gradient(x, theta):
    """Its gradient in x."""
    return train.T @ (train @ x - train_targets) + theta.exp() * x


def upper(x, theta):
    """Half the squared residuals on the validation rows."""
    return (validation @ x - validation_targets).square().sum() / 2


def hypergradient(x, jacobian):
    """The chain rule."""
    return jacobian.T @ (validation.T @ (validation @ x - validation_targets))


# %% [markdown]
# The exact hypergradient has a closed form: with $A = X^\top X + \operatorname{diag}(e^\theta)$ and $A \hat x = X^\top y$, the
# Jacobian of $\hat x$ is $-A^{-1} \operatorname{diag}(e^\theta \hat x)$. So has the response that is fitted to draws of
# $\theta + \varepsilon$: it needs the mean and the variance of $e^{\theta + \varepsilon}$.

# %%
penalties = theta.exp()
hessian = train.T @ train + penalties.diag()
best = torch.linalg.solve(hessian, train.T @ train_targets)
exact = hypergradient(best, -torch.linalg.solve(hessian, (penalties * best).diag()))


def fitted_response(std):
    """The hypergradient of the response w + Jε of least expected lower objective."""
    mean = math.exp(std**2 / 2) * penalties
    inverse = torch.linalg.inv(train.T @ train + mean.diag())
    shrink = mean / (1 + std**2 * mean * inverse.diagonal())
    coupled = train.T @ train + mean.diag()
    coupled -= (std**2 * mean * inverse.diagonal() * shrink).diag()
    solution = torch.linalg.solve(coupled, train.T @ train_targets)
    return hypergradient(solution, -inverse * (shrink * solution))


def error(approximate):
    """Relative to the exact hypergradient."""
    return ((approximate - exact).norm() / exact.norm()).item()


# %%
step = 1 / torch.linalg.eigvalsh(hessian)[-1].item()
counts = list(range(1, 62, 3))
unrolled, implicit = [], []
for count in counts:
    gradient, reached = hypergradients.unrolled_hypergradient(
        lambda x, theta: x - step * lower_gradient(x, theta),
        upper,
        torch.zeros_like(best),
        theta,
        n_steps=count,
    )
    unrolled.append(error(gradient))
    solve = partial(
        hypergradients.conjugate_gradients, tolerance=1e-10, n_iterations=count
    )
    implicit.append(
        error(
            hypergradients.implicit_hypergradient(
                lower, upper, reached, theta, solve=solve
            )
        )
    )
responses = {std: error(fitted_response(std)) for std in (1.0, 0.25)}

after_40 = counts.index(40)
lab.glue("unrolled", unrolled[after_40], ".1g")
lab.glue("implicit", implicit[after_40], ".1g")
lab.glue("wide", responses[1.0], ".1g")
lab.glue("narrow", responses[0.25], ".1g")

# %% tags=["hide-input", "remove-output", "thumbnail"]
fig, axes = lab.figure(height=3.2)
axes.semilogy(counts, unrolled, color=lab.BASELINE, label="unrolled")
axes.semilogy(counts, implicit, color=lab.ACCENT, label="implicit")
for (std, value), style in zip(responses.items(), ("--", ":"), strict=True):
    label = f"best response, σ = {std:g}"
    axes.axhline(value, color=lab.PALETTE[0], linestyle=style, label=label)
axes.set(
    xlabel="gradient steps, and products with the Hessian", ylabel="relative error"
)
axes.legend()
lab.glue("errors", fig)

# %% [markdown]
# ```{glue:figure} errors
# :name: fig-tuning-errors
# :alt: Relative error on a logarithmic axis against gradient steps and Hessian products. A blue curve of implicit differentiation falls below a grey one of unrolling. Two dashed lines, flat, stand at the errors of fitted best responses.
#
# Ridge regression with one penalty for each of 20 coefficients, where the hypergradient has a closed form: relative
# errors of approximate ones. Both curves spend as many gradient steps on the lower problem as products with its Hessian;
# after 40 of each, unrolling errs by {glue:text}`unrolled` and implicit differentiation by {glue:text}`implicit`. A best
# response that is fitted to perturbed penalties needs no Hessian; its error, {glue:text}`wide` at σ = 1 and
# {glue:text}`narrow` at 1/4, comes from the perturbation.
# ```
#
# ## What the part does with it
#
# Certificates
# : An adaptively inexact method keeps the bound on its own error, searches along a direction only once it is known to
#   lead down, and finds the accuracy that it needs while it runs. It tunes the strength and smoothness of total
#   variation, the filters of a field of experts, and one penalty for each weight of a classifier.
#
# Schedules
# : A self-tuning network has the fitted response built into its layers, and tunes dropout, augmentation and weight decay
#   in one training. What comes out is a schedule.
#
# The risk to be minimised can also be known without held-out data, as {doc}`/notebooks/stein/opening` shows; there, Stein's
# unbiased risk estimate takes the place of
# $g$.
#
# ## Where it ends
#
# {eq}`implicit-gradient` needs an invertible $A$. A network's loss has flat directions and saddles, and there is no
# bound without strong convexity. What is tuned on held-out data is trained on them: the more hyperparameters, the more a
# third set of data is needed to judge the result.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
