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
# # Theory: what networks can learn
#
# A network has more weights than data, and fits them; what does it compute elsewhere? No theory answers for all
# networks. There are answers at corners, where something becomes large, or small, and what is left can be calculated. The
# chapters of this part each work in one corner. This page shows that they are corners of one thing.
#
# ```{gallery} theory
# ```
#
# ## One network
#
# Two layers, $m$ hidden neurons, inputs $x \in \mathbb{R}^d$, and one number besides, the scale $s$ of the output:
#
# $$
# f(x) = s\,\sqrt{\tfrac2m}\; A\,\max(0, W x), \qquad W \in \mathbb{R}^{m \times d},\; A \in \mathbb{R}^{k \times m},
# $$ (two-layers)
#
# with standard normal weights at the start. The *features* of $x$ are $\phi(x) = \sqrt{2/m}\,\max(0, Wx)$, and $A$
# reads them. What the network can learn from few samples hangs on the features, and what the features become hangs on
# $m$, on $s$, and on what is added to the loss.
#
# **Infinite width.** At the start the inner products $\phi(x)^\top\phi(x')$ are means over $m$ independent neurons. As
# $m$ grows they tend to a kernel, with a closed form for the ReLU
# ({func}`~regularity.foundations.kernels.wide_network_kernels`, {cite:t}`cho2009kernel`).
#
# **Lazy.** With a large $s$ a small change of the weights is enough to fit. The features stay what they were, and training is
# regression with a fixed kernel {cite:p}`chizat2019lazy`. What it learns first is what the kernel finds large.
#
# **Rich.** With a small $s$ the weights must travel, and the features turn towards the task.
#
# **Collapsed.** Charge for the weights, $\frac\lambda2(\|W\|^2 + \|A\|^2)$, and train on. Features that do not serve to
# tell classes apart are given up, in the end until those of $k$ classes span $k - 1$ directions {cite:p}`papyan2020prevalence`.
#
# **Extensive width.** Let $m$ be proportional to $d$. Then the weights are too many to be learned from $n \sim d$ samples and
# too few to be averaged away, and the natural number of samples is $n \sim d^2$. With $z^2$ in the place of $\max(0, z)$
# all of it can be calculated.
#
# **Spectral.** Do not learn the features at all: take an orthonormal basis, of polynomials say, and as many of its
# functions as the samples pay for. What a network does better or worse is measured against that.
#
# ## One data set
#
# The spectrum of the features tells them apart. On handwritten digits, with inputs of length one:

# %% tags=["hide-input"]
import pandas as pd
import torch

from regularity import lab
from regularity.data import load_digits
from regularity.foundations import kernels, polynomials

session = lab.begin(seed=0)

# %%
n_train, n_test, width = 300, 1000, 256
images, labels = load_digits()
images = torch.nn.functional.normalize(images.flatten(1))
order = torch.randperm(len(labels), generator=session.stream("split"))
train, test = order[:n_train], order[n_train : n_train + n_test]
targets = torch.nn.functional.one_hot(labels, 10).float() - 0.1


# %%
def features(weights, inputs, activation=torch.relu):
    """Hidden layer, one row an image."""
    return (2 / len(weights)) ** 0.5 * activation(inputs @ weights.T)


def spectrum(gram):
    """Eigenvalues of centred features, as shares of their sum."""
    centred = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    values = torch.linalg.eigvalsh(centred.double()).flip(0).clamp_min(1e-12)
    return values / values.sum()


def start(m):
    """Standard normal weights of both layers."""
    draw = session.stream("weights", m)
    inner = torch.randn(m, images.shape[1], generator=draw)
    return inner, torch.randn(10, m, generator=draw)


def accuracy(outputs):
    """Percentage of the test images whose largest output is that of their class."""
    return 100 * (outputs[test].argmax(1) == labels[test]).float().mean().item()


# %%
def fit(scale, price, m, activation, n_steps=1500):
    """Minimise squared errors and the price of the weights with Adam."""
    first, last = start(m)
    inner, outer = first.clone().requires_grad_(), last.clone().requires_grad_()
    at_start = features(first, images, activation) @ last.T
    if price > 0:  # others have it taken off, so as to begin at zero
        at_start.zero_()

    def outputs(some):
        return scale * (
            features(inner, images[some], activation) @ outer.T - at_start[some]
        )

    optimiser = torch.optim.Adam([inner, outer], lr=0.02 / max(scale, 1))
    for _ in range(n_steps):
        squares = inner.square().sum() + outer.square().sum()
        loss = (outputs(train) - targets[train]).square().sum(1).mean()
        optimiser.zero_grad()
        (loss + price * squares).backward()
        optimiser.step()
    moved = ((inner.detach() - first).norm() / first.norm()).item()
    row = {
        "change of W, relative": moved,
        "test accuracy (%)": accuracy(outputs(slice(None)).detach()),
    }
    return features(inner.detach(), images[train], activation), row


# %%
few = images.shape[1] // 2
regimes = {
    "lazy": (30.0, 0.0, width, torch.relu),
    "rich": (0.1, 0.0, width, torch.relu),
    "collapsed": (0.3, 1e-4, width, torch.relu),
    "extensive width": (0.3, 0.0, few, torch.square),
}
hidden = features(start(width)[0], images[train])
spectra, rows = {"at the start": spectrum(hidden @ hidden.T)}, {}
for name, regime in regimes.items():
    hidden, rows[name] = fit(*regime)
    spectra[name] = spectrum(hidden @ hidden.T)
limit = kernels.wide_network_kernels(images[train], depth=2).nngp
spectra["infinite width"] = spectrum(limit)

# %%
centred = images - images[train].mean(0)
_, sizes, directions = torch.linalg.svd(centred[train], full_matrices=False)
leading = centred @ directions[:6].T / sizes[:6] * n_train**0.5
terms = polynomials.total_degree_indices(6, degree=2)
basis = polynomials.product_basis(polynomials.hermite_basis(leading, 2), terms)
readout = torch.linalg.lstsq(basis[train], targets[train]).solution
spectra["spectral"] = spectrum(basis[train] @ basis[train].T)
rows["spectral"] = {"test accuracy (%)": accuracy(basis @ readout)}
for name, values in spectra.items():
    rows.setdefault(name, {})["effective rank"] = (1 / values.square().sum()).item()
table = pd.DataFrame(rows).T.loc[list(spectra)].astype(object).fillna("–")
lab.table(table)
for name, glued in (("collapsed", "rest"), ("at the start", "rest-start")):
    lab.glue(glued, 100 * spectra[name][9:].sum().item(), ".0f", "%")
lab.glue("n-train", n_train, "d")
lab.glue("width", width, "d")
lab.glue("few", few, "d")
lab.glue("n-terms", len(terms) - 1, "d")

# %% tags=["hide-input", "remove-output", "thumbnail"]
fig, axes = lab.figure(height=3.4)
ranks = range(1, 41)
looks = {
    "at the start": {"color": lab.BASELINE, "lw": 3, "alpha": 0.6},
    "infinite width": {"color": "black", "ls": "--", "lw": 1.2},
    "lazy": {"color": lab.PALETTE[1], "lw": 1.5},
    "rich": {"color": lab.PALETTE[2], "lw": 1.5, "marker": "s", "ms": 3},
    "collapsed": {"color": lab.ACCENT, "lw": 1.5, "marker": "o", "ms": 3},
    "extensive width": {"color": lab.PALETTE[3], "lw": 1.5, "marker": "^", "ms": 3},
    "spectral": {"color": lab.PALETTE[4], "lw": 1.5, "marker": "D", "ms": 2.5},
}
for name, look in looks.items():
    axes.semilogy(ranks, spectra[name][: len(ranks)], label=name, **look)
axes.axvline(9.5, color=lab.BASELINE, lw=0.6)
axes.set_ylim(1e-5, 1)
axes.set(xlabel="rank of the eigenvalue", ylabel="share of the features' variance")
axes.legend()
lab.glue("regimes", fig)

# %% [markdown]
# ```{glue:figure} regimes
# :name: fig-theory-regimes
# :alt: Shares of variance against rank, logarithmic. The curves of the start, of infinite width and of the lazy network lie on one another and fall slowly; that of the rich network falls faster, that of the collapsed one drops sharply after the ninth, and those of extensive width and of the polynomials end at the 32nd and the 27th.
#
# Eigenvalues of the hidden features of {glue:text}`n-train` digits, from the largest on, in networks of
# {glue:text}`width` neurons that differ in the scale of their output and in the price of their weights alone. The
# lazy network (green) keeps the features of the start (grey), which are those of the limit (dashed). The rich one
# (squares) turns them. In the collapsed one (blue) the features of ten classes retreat into nine directions:
# {glue:text}`rest` of their variance lie behind the ninth (thin line), against {glue:text}`rest-start` at the
# start. The {glue:text}`few` squares of extensive width (triangles), half as many as there are pixels, and the
# {glue:text}`n-terms` polynomials of six principal components (diamonds) end where there are no more of them.
# ```
#
# All networks fit the training images, and the accuracies in the table are close. On such data no corner is the place
# to be. Where the task hides few directions among many, the difference is one of powers of $d$.
#
# ## What the part does with it
#
# The limit
# : In a wide network the tangent kernel is deterministic and stays, so that training becomes a linear differential
#   equation. It says what is learned, in which order, and what stopping early leaves out.
#
# The optimum
# : For quadratic neurons of extensive width the least error that anybody can reach is known in closed form. One
#   algorithm reaches it; so, without being told to, does the average of many trained networks.
#
# The hidden feature
# : Three layers that are trained in turn find a polynomial of degree $k$ before they use it, from about $d^k$ samples. A
#   kernel, whose features stay, needs a higher power of $d$.
#
# The collapse
# : Features that are held near those of the layer before fall short of collapse, by an amount that is calculated, and
#   the weight decays of the layers do not count alike.
#
# The width
# : How many neurons does a function need? Solutions of some nonlinear equations have Barron norms that grow slowly with
#   the dimension, and so do the networks that hold them.
#
# The points
# : With a fixed basis only the samples are left to choose. Points that repel each other make least squares stable with
#   few of them, without a penalty.
#
# ## Where it ends
#
# A corner is not the room. Real networks are neither infinitely wide nor trained for ever, and the scale that separates lazy
# from rich shifts with the width, the depth and the learning rate. Theory in the corners explains what it was made to
# explain, and each chapter shows something nearby that it does not.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
