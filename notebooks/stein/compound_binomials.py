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
# # Compound binomials: how far to trust a handful of trials
#
# **Three hundred school districts, a few pupils tested in each: how far should each district's pass rate be pulled
# towards what the other districts suggest, when nobody knows the true rates?**
#
# | | |
# |---|---|
# | paper | *Compound Estimation for Binomials* {cite:p}`chen2025compound` |
# | authors | Yan Chen and Lihua Lei |
# | year, arXiv | 2025, [2512.25042](https://arxiv.org/abs/2512.25042) |
# | what is regularised | many success rates, each estimated from a small sample |
# | by what | shrinkage towards a prediction, its strength chosen by an unbiased estimate of the risk |
# | for whom | whoever compares small samples: schools, census tracts, clinics, firms, advertisements |
# | read for this chapter | the abstract and the titles of the sections; the formulas are derived here |
#
# Two of three pupils pass, and the plain average says 67 %. It is unbiased, and it is almost useless. Every remedy
# pulls it towards something steadier, such as the mean of all districts or a prediction from what is known of the
# district. How hard to pull depends on the error that is left, and the error depends on the true rate. Empirical Bayes
# assumes that the true rates are draws from a distribution and estimates that. Yan Chen and Lihua Lei assume nothing
# of the rates. They are fixed numbers, whatever they are; only the pupils are random. Then a binomial relative of
# Stein's identity, {eq}`stein-identity`, estimates the mean squared error of *each candidate strength* from the counts
# alone, and one takes the strength with the smallest estimate. No step replaces a count by a Gaussian, so two pupils a district are
# enough.
#
# On real rates with real covariates and 2 to 12 pupils a district, this divides the error of the plain average by
# {glue:text}`gain`; the strength that the truth would choose is
# {glue:text}`excess` better. An assumed prior loses when large samples come from other districts
# than small ones. Once there are good predictions to shrink to, it loses nothing: the classical model, centred at the
# same predictions, is as good.
#
# ```{verdicts}
# ```
#
# ```{glue:figure} answer
# :name: fig-compound-binomials-answer
# :alt: Left, estimated against true pass rates, grey points widely scattered, blue ones near the diagonal. Right, curves of estimated risk and true loss against the strength of shrinkage, side by side.
#
# Left: one draw of 2 to 12 pupils in each of 303 districts. The plain averages (grey) lie on a few lines and far from
# the diagonal; shrunk towards a ridge regression on the districts' covariates, with the strength that the estimated
# risk picks, they come close (blue). Right: for the same draw the estimated risk (solid) and the true loss (dashed) of
# every strength, for two things to shrink to. Nobody can see the dashed lines; the solid ones have their minima (dots)
# in the same places.
# ```

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
seed: int = 0  # seed of all random draws
device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1"
n_threads: int = 1  # threads of a CPU; small tensors gain nothing from more
n_draws: int = 200  # draws of the counts in each design
n_districts: int = 303  # districts; more are drawn from the 303 with replacement
n_synthetic: int = 400  # units of each synthetic population
n_folds: int = 5  # folds of cross-fitting
n_strengths: int = 80  # strengths between the smallest and the largest
smallest_strength: float = 0.05  # smallest positive strength, in trials
largest_strength: float = 2000.0  # largest finite strength, in trials
ridge_penalty: float = 5.0  # penalty of the ridge regression on standardised covariates
n_trees: int = 80  # trees of the random forest
min_leaf: int = 1  # least number of districts in a leaf of its trees
n_forest_draws: int = 16  # draws of the counts for the forest
regret_sizes: list[int] = [
    100,
    200,
    400,
    800,
    1600,
]  # numbers of units at which the regret is measured
n_regret_draws: int = 200  # draws of the counts at each of them
n_coverage_draws: int = 2000  # draws of the counts for the coverage of intervals

# %% tags=["hide-input"]
import pandas as pd
import torch
from matplotlib.ticker import FixedLocator, NullLocator

from regularity import lab
from regularity.data import load_rand_health, load_star98
from regularity.foundations.cross_fitting import cross_fit
from regularity.foundations.risk import sure_binomial
from regularity.stein import compound_binomials as binomials
from regularity.stein.compound_binomials import experiment

session = lab.begin(seed, device, n_threads)
strengths = binomials.strength_grid(
    smallest_strength, largest_strength, n_strengths
).to(session.device)

# %% [markdown]
# The truth has to be known for a test, and the counts have to be binomial. Both hold for a sample of a sample. In 1998
# the pupils of 303 Californian school districts took the same mathematics test. Take a district's share above the
# national median for its true rate, and draw a few of its pupils with replacement. The rates and the twelve covariates (income,
# teachers, spending, courses) are real, the small samples are ours. Four designs say how many pupils $n_i$ are drawn
# in district $i$: *two pupils*; *2 to 12*, at random; *more if rich*, as when well-off districts answer more often; and
# *one in twenty* of those tested, at most 200.

# %%
columns = load_star98()
districts = binomials.school_districts(
    columns, n_districts, session.stream("districts")
)
rates, covariates = (
    part.to(session.device) for part in (districts.rates, districts.covariates)
)
designs, counts, measured, predictions, shrunk = {}, {}, {}, {}, {}
drawn = binomials.pupils_drawn(districts, session.stream("trials"))
for name, trials in drawn.items():
    successes = binomials.draw_counts(
        districts.rates, trials, n_draws, session.stream("counts", name)
    )
    designs[name], counts[name] = (
        trials.to(session.device),
        successes.to(session.device),
    )
    ridge = binomials.ridge_regression(
        covariates, counts[name], designs[name], penalty=ridge_penalty
    )
    folds = session.stream("folds", name)
    predictions[name] = cross_fit(ridge, len(rates), n_folds=n_folds, generator=folds)
    measured[name] = binomials.proportions(counts[name], designs[name])
    shrunk[name] = binomials.choose_by_sure(
        measured[name], strengths, predictions[name]
    )

shown = "2 to 12"
plain = experiment.squared_error(measured[shown].values, rates)
ours = experiment.squared_error(shrunk[shown].estimates, rates)
losses = binomials.loss_curve(measured[shown], predictions[shown], strengths, rates)
lab.glue("gain", float(lab.ratio(plain, ours)), ".1f")
excess = lab.ratio(ours, losses.amin(dim=-1))
lab.glue("excess", 100 * (excess.value - 1), ".0f", "%")

# %% tags=["hide-input"]
one = binomials.proportions(counts[shown][0], designs[shown])
pooled = binomials.pooled_mean(counts[shown], designs[shown])
folds = session.stream("folds", shown)
mean_of_others = cross_fit(pooled, len(rates), n_folds=n_folds, generator=folds)
finite = slice(1, -1)
axis = strengths[finite].cpu()

# %% tags=["hide-input", "remove-output", "thumbnail"]
fig, (scatter, curves) = lab.figure(1, 2, height=3.0)
truth = rates.cpu()
for estimates, colour, label in (
    (measured[shown].values, lab.BASELINE, "plain average"),
    (shrunk[shown].estimates, lab.ACCENT, "shrunk by SURE"),
):
    scatter.plot(
        truth,
        estimates[0].cpu(),
        "o",
        ms=3,
        alpha=0.6,
        mew=0,
        color=colour,
        label=label,
    )
scatter.plot([0, 1], [0, 1], color="black", lw=0.8)
scatter.set(xlabel="true rate", ylabel="estimate", aspect="equal")
scatter.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
scatter.legend(loc="lower right", handletextpad=0.2, borderpad=0.2)

for target, colour, name in (
    (mean_of_others[0], lab.BASELINE, "mean"),
    (predictions[shown][0], lab.ACCENT, "ridge"),
):
    estimated = binomials.sure_curve(one, target, strengths).cpu()[finite]
    true = binomials.loss_curve(one, target, strengths, rates).cpu()[finite]
    for curve, style, fill, word in (
        (estimated, "-", colour, "estimated"),
        (true, "--", "white", "true"),
    ):
        curves.plot(axis, curve, style, color=colour, label=f"{word}, {name}")
        curves.plot(axis[curve.argmin()], curve.min(), "o", color=colour, mfc=fill)
curves.set(xscale="log", xlabel="strength λ (trials)", ylabel="mean squared error")
curves.set_ylim(0, None)
curves.legend(ncols=1)
lab.glue("answer", fig)

# %% [markdown]
# ## The method
#
# ### A risk that does not ask for the truth
#
# Unit $i$ shows $X_i \sim \mathrm{Bin}(n_i, p_i)$ successes, for $i = 1, \dots, N$. An estimator is a rule
# $\delta_i(X_i)$, and its risk is $\frac1N \sum_i \mathbb{E}(\delta_i(X_i) - p_i)^2$. Only the $X_i$ are random: to
# judge a rule by its average error over many fixed problems is what Robbins called a *compound decision*
# {cite:p}`robbins1951asymptotically`. The risk of one unit is enough to study; drop $i$, and write
# $\hat p = X/n$, $\mathbb{E}_k$ for the mean under $\mathrm{Bin}(k, p)$, and $\Delta f(x) = f(x + 1) - f(x)$.
#
# Stein's identity for Gaussian noise moves the unknown mean into a derivative. For one toss $B$ of a coin with
# probability $p$, and any function $f$, averaging over the two outcomes gives
# $\mathbb{E}[(B - p) f(s + B)] = p(1 - p)\,\Delta f(s)$. A binomial count is a sum of $n$ tosses; let $s$ be the sum
# of the others, and add up:
#
# $$
# \mathbb{E}_n[(X - np)\, f(X)] = n\,p(1 - p)\; \mathbb{E}_{n-1} \Delta f(Y).
# $$ (compound-stein)
#
# This is {eq}`stein-identity` with a difference in the place of the derivative, and the variance $np(1 - p)$ in that
# of $\sigma^2$ {cite:p}`hudson1978natural`. Split the error as $\delta - p = (\delta - \hat p) + (\hat p - p)$, square
# it, and use {eq}`compound-stein` for the cross term:
#
# $$
# \mathbb{E}(\delta - p)^2 = \mathbb{E}(\delta - \hat p)^2
# + 2p(1 - p)\,\mathbb{E}_{n-1}\Delta\delta(Y) - \frac{p(1 - p)}{n}.
# $$ (compound-risk)
#
# For Gaussian noise we would be done, since $\sigma$ is known there. Here $p(1 - p)$ is not. It has to be paid for in
# trials. Pick two of the $n$ at random. The first is a success and the second a failure with probability
# $X(n - X)/(n(n - 1))$, and the other $n - 2$ then hold $X - 1$ successes. So for any $g$,
#
# $$
# \mathbb{E}_n\Big[\frac{X(n - X)}{n(n - 1)}\, g(X - 1)\Big] = p(1 - p)\; \mathbb{E}_{n-2}\, g(Y).
# $$ (compound-pairs)
#
# Two trials are spent, and $n - 2$ are left where {eq}`compound-risk` wants $n - 1$. Put a fair coin in the place of the
# missing one, that is, average over its failing and its succeeding. The result looks familiar:
#
# $$
# \begin{gathered}
# \hat R(X) = (\delta(X) - \hat p)^2 + \hat v\,(2D - 1), \\
# \hat v = \frac{\hat p(1 - \hat p)}{n - 1}, \qquad
# D = \frac n2\,\big[\delta(X + 1) - \delta(X - 1)\big].
# \end{gathered}
# $$ (compound-sure)
#
# It is SURE as in {eq}`sure`, with an unbiased estimate in the place of the variance, and in that of the divergence a
# central difference: how much the estimate moves when one success more or less would have moved the average by $1/n$.
# In {doc}`noise2score` such an estimate trains a network; here it will choose one number.
#
# A fair coin is the wrong coin unless $p = \tfrac12$, and it does not matter if the difference that it enters is
# constant. The bias says exactly that:
#
# $$
# \mathbb{E}_n \hat R(X) - \mathbb{E}_n(\delta - p)^2 = p(1 - p)(1 - 2p)\; \mathbb{E}_{n-2}\Delta^2\delta(Y).
# $$ (compound-bias)
#
# It is zero for every rule that is linear in the count, and for every rule at $p = \tfrac12$. The paper speaks of an
# approximate SURE for any class of estimators; we could read its abstract and outline but not its formulas, and derived
# {eq}`compound-sure` and its relatives here. That *some* approximation is needed is a matter of degrees. The mean of
# any function of $X$ is a polynomial in $p$ of degree at most $n$, but the risk contains $p\,\mathbb{E}_n\delta(X)$,
# which has a term $p^{n+1}\Delta^n\delta(0)$. With two trials or more, an unbiased estimate exists exactly when
# $\Delta^n\delta(0) = 0$.

# %%
lab.show(sure_binomial)

# %% [markdown]
# Two relatives stand in the same function. The second corrects the central form by one order; its bias is
# $-\tfrac12 p(1 - p)(1 - 2p)^2\, \mathbb{E}_{n-3}\Delta^3\delta$, small for smooth rules. The third expands about
# $p = 0$ instead of about the fair coin. Its bias is $2p^3\, \mathbb{E}_{n-2}\Delta^2\delta$: made for rare events, and
# of no use for common ones. {numref}`fig-compound-binomials-bias` compares them on a rule that is not linear.
#
# ```{glue:figure} bias
# :name: fig-compound-binomials-bias
# :alt: Two panels of absolute bias against the rate p on a logarithmic scale, for 3 and for 10 trials. The central curve dips to zero at one half; the curve for rare events starts far below and rises above all others.
#
# The bias of four estimates of the risk of one curved rule (shrinkage by 0.4 on the arcsine scale), exact, by summing
# over all counts. Each dip is a change of sign. The central form (blue) is exact at the fair coin; with ten trials its
# third-order correction is better at nearly all rates, with three at most of them. The form for rare events is the best
# at small p and useless at large. The plug-in of p̂(1 − p̂)/n for the variance (grey) lies above the central form at most
# rates. The dotted line is the risk itself.
# ```

# %% tags=["hide-input", "remove-output"]
rule = experiment.arcsine_rule
forms = {
    "plug-in": (lambda x, n: experiment.plug_in_sure(rule, x, n), lab.BASELINE),
    "rare events": (
        lambda x, n: sure_binomial(rule, x, n, form="falling"),
        lab.PALETTE[1],
    ),
    "third order": (
        lambda x, n: sure_binomial(rule, x, n, form="third order"),
        lab.PALETTE[0],
    ),
    "central": (lambda x, n: sure_binomial(rule, x, n), lab.ACCENT),
}
grid = torch.linspace(0.002, 0.998, 499, dtype=torch.float64)
fig, panels = lab.figure(1, 2, height=3.0, sharey=True)
for axes, n in zip(panels, (3, 10), strict=True):
    risk = experiment.exact_risk(rule, n, grid)
    axes.plot(grid, risk, ":", color="black", lw=1, label="the risk")
    for name, (estimate, colour) in forms.items():
        bias = experiment.exact_bias(rule, n, grid, estimate)
        axes.plot(grid, bias.abs(), color=colour, label=name)
    axes.set(yscale="log", ylim=(1e-7, 0.3), xlabel="true rate p", title=f"n = {n}")
panels[0].set_ylabel("absolute bias")
handles, labels = panels[0].get_legend_handles_labels()
fig.legend(handles, labels, loc="outside upper center", ncols=5)
lab.glue("bias", fig)

# %% [markdown]
# ### Linear shrinkage, where nothing is approximate
#
# The paper's class is called machine learning-assisted linear shrinkage. Ours pulls each average towards a prediction
# $m_i$ of its rate,
#
# $$
# \delta_i = m_i + w_i(\hat p_i - m_i), \qquad w_i = \frac{n_i}{n_i + \lambda}.
# $$
#
# One number $\lambda \in [0, \infty]$ says for all units how many trials the prediction is worth. At 0 it is worth
# nothing and the plain average stays; at $\infty$ the prediction replaces it. In terms of the pull $q_i = 1 - w_i$ the
# loss of one unit is
#
# $$
# (\delta_i - p_i)^2 = (\hat p_i - p_i)^2 - 2q_i\,(\hat p_i - p_i)(\hat p_i - m_i) + q_i^2\,(\hat p_i - m_i)^2 .
# $$ (compound-loss)
#
# The last product can be seen. The other two cannot, but if $m_i$ has not seen $X_i$ both have the same mean, the
# variance of $\hat p_i$. Put $\hat v_i$ in the place of both, and every strength has an unbiased estimate of its risk.
# That is {eq}`compound-sure` again, summed over the units; the method is the curve, and its lowest point.
#
# ```{admonition} Algorithm: shrinkage by an unbiased risk
# 1. Split the units into folds; predict the units of each fold, $m_i$, by a model that was fitted to the others.
# 2. For each unit compute $\hat p_i = X_i/n_i$ and $\hat v_i = \hat p_i(1 - \hat p_i)/(n_i - 1)$.
# 3. For each strength $\lambda$ of the grid, $0$ and $\infty$ among them, let $q_i = 1 - n_i/(n_i + \lambda)$ and
#    $\widehat R(\lambda) = \frac1N \sum_i \big[\hat v_i - 2q_i \hat v_i + q_i^2 (\hat p_i - m_i)^2\big]$.
# 4. Take $\hat\lambda = \arg\min \widehat R$, and return $\hat p_i + q_i(m_i - \hat p_i)$.
# ```

# %%
lab.show(binomials.proportions, binomials.sure_curve, binomials.choose_by_sure)

# %% [markdown]
# The condition on $m_i$ is met by *cross-fitting*: split the units into folds, and predict each fold by a model
# that was fitted to the others. Any model will do, and a bad one is hardly worse than none: a large estimated risk at
# large $\lambda$ is a reason to keep the averages.

# %%
lab.show(cross_fit)

# %% [markdown]
# Where there is nothing to predict from, {func}`~regularity.stein.compound_binomials.choose_by_sure` chooses a common
# centre $\mu$ as well. For each $\lambda$ the best centre is a weighted mean of the averages, with weights $q_i^2$: the
# units that are pulled hardest have the most say in where to. The pooled rate $\sum X / \sum n$ listens to the others.
#
# SURE is a noisy estimate. Over draws of the pupils its standard deviation is
# {glue:text}`noise`, beside a risk of {glue:text}`risk` (in thousandths). Its
# minimum is in the right place all the same. The loss is a parabola in the pulls, flat near its lowest point, so that
# a minimum misplaced by $\varepsilon$ costs no more than the order of $\varepsilon^2$. The noise misplaces it by the
# order of $1/\sqrt N$. What the choice loses to the best should then fall like $1/N$, and we shall see it do so.
#
# **Two samples.** For a treatment effect $\theta_i = p_{i1} - p_{i0}$ use $d_i = \hat p_{i1} - \hat p_{i0}$ and the sum
# of the two $\hat v$. Nothing else in {eq}`compound-loss` changes, so the same code runs on
# {func}`~regularity.stein.compound_binomials.differences`.
#
# **Inference.** At a fixed $\lambda$ the units' terms of SURE are independent, so that their mean and its standard error
# give an interval for the risk; the terms' excess over $\hat v_i$ gives one for the gain over the plain average. Whether
# that survives the choice of $\lambda$ is for the experiment to say.

# %%
best = shrunk[shown].curve.mean(dim=0).argmin()
lab.glue("noise", 1e3 * shrunk[shown].curve[:, best].std().item(), ".1f")
lab.glue("risk", 1e3 * losses[:, best].mean().item(), ".1f")
lab.show(binomials.risk_interval)

# %% [markdown]
# ## The experiment
#
# ### Without predictions
#
# Three rules choose a centre and a strength from the counts alone. SURE minimises the estimated risk. *Beta-binomial*
# is the classical empirical Bayes rule: it assumes the prior $\mathrm{Beta}(\lambda\mu, \lambda(1 - \mu))$, whose
# posterior mean is the same linear shrinkage, and maximises the likelihood over the same strengths and all centres.
# *Arcsine* makes the counts nearly Gaussian, with variance $1/(4n)$ on the scale $\arcsin\sqrt{\hat p}$, and minimises
# the Gaussian SURE of {eq}`sure` there, again over the same strengths and all centres {cite:p}`brown2008season`. A
# fourth rule, *NPMLE*, is not linear: the posterior mean under the prior of most likelihood among all priors
# {cite:p}`kiefer1956consistency`.
#
# To the four designs come two made-up populations. *Rare* has rates from Beta(1, 19), one in twenty on average, seen
# in 2 to 7 trials. *Two kinds* is built against a common prior: half the units have 3 trials and rates near one half,
# the others 30 trials and rates near zero or one.

# %%
settings = {name: (trials, rates, counts[name]) for name, trials in designs.items()}
for name in ("rare", "two kinds"):
    trials, made = binomials.made_up_population(
        name, n_synthetic, n_draws, session.stream("population", name)
    )
    successes = binomials.draw_counts(
        made, trials, n_draws, session.stream("counts", name)
    )
    settings[name] = tuple(
        part.to(session.device) for part in (trials, made, successes)
    )

errors = {}  # by setting and rule: one mean squared error a draw
rules = experiment.rules_without_predictions(strengths, session.child_seed("monotone"))
for name, (trials, truth, successes) in lab.progress(
    settings.items(), "no predictions"
):
    for rule, estimate in rules.items():
        errors[name, rule] = experiment.squared_error(
            estimate(successes, trials), truth
        )
    errors[name, "oracle"] = binomials.best_loss(
        binomials.proportions(successes, trials), strengths, truth
    )


def thousandths(settings, rules):
    """Mean squared errors in thousandths, a row a rule and a column a setting."""
    cells = {
        name: [lab.mean(1e3 * errors[name, rule]) for rule in rules]
        for name in settings
    }
    return pd.DataFrame(cells, index=list(rules))


lab.table(thousandths(settings, [*rules, "oracle"]))

# %% [markdown]
# The oracle is the best strength and centre in hindsight, chosen with the truth. No rule is best everywhere, and the
# table says what each is for.
#
# - Where samples are tiny or rates are near zero (*two pupils*, *rare*) the arcsine rule is bad: no transformation makes
#   a count of 0, 1 or 2 Gaussian. SURE and the beta-binomial rule do not try.
# - Where rich districts answer more (*more if rich*), the two empirical Bayes rules lose. They assume that a unit's
#   rate has nothing to do with its $n_i$. SURE was promised nothing of the kind: its error is
#   {glue:text}`informative` times that of the beta-binomial rule. The arcsine rule does nearly as
#   well there. It is the criterion that helps, an estimate of the risk for these rates and these $n_i$; the likelihood
#   has no part in it.
# - Among *two kinds* SURE again beats the two priors by far. The arcsine rule is better still, since near zero and one
#   its scale lets the averages alone. But the oracle of the class is not good either: one $\lambda$ cannot pull the
#   small samples hard and leave the large ones as they are.
#
# Richer classes have a SURE too. Give each size $n$ a weight $w_n$ of its own, and ask only that it grow with $n$; the
# weights of least estimated risk are an isotonic regression
# ({func}`~regularity.stein.compound_binomials.shrink_monotonically`, {cite:t}`xie2012sure`). The line *SURE, monotone*
# does so around the centre that SURE picks on the other folds. Where a unit's size says something of its rate, it beats
# even the oracle of one $\lambda$. Elsewhere it is a little worse than one $\lambda$: a larger class has a better oracle
# and a larger regret.

# %%
rich = "more if rich"
informative = lab.ratio(errors[rich, "SURE"], errors[rich, "beta-binomial"])
lab.glue("informative", informative.value)

# %% [markdown]
# ### With predictions
#
# Now the districts' covariates come in, through a ridge regression whose predictions are cross-fitted. All rules shrink
# to the same predictions. *Ridge alone* is $\lambda = \infty$. *Plug-in* takes $\hat p(1 - \hat p)/n$ for the variance,
# as one does who forgets that $\hat p$ is estimated too. *Arcsine* shrinks on its scale towards $\arcsin\sqrt{m_i}$.
# *Beta-binomial* is the strong one: the prior
# $\mathrm{Beta}(\lambda m_i, \lambda(1 - m_i))$ is centred at each unit's own prediction, and the likelihood picks
# $\lambda$.

# %%
rules_at_ridge = experiment.rules_at_predictions(strengths)
for name, trials in lab.progress(designs.items(), "with predictions"):
    for rule, estimate in rules_at_ridge.items():
        estimates = estimate(counts[name], trials, predictions[name])
        errors[name, rule] = experiment.squared_error(estimates, rates)
    errors[name, "oracle at ridge"] = binomials.loss_curve(
        measured[name], predictions[name], strengths, rates
    ).amin(dim=-1)

compared = ["plain average", "SURE", *rules_at_ridge, "oracle at ridge"]
lab.table(thousandths(designs, compared))
two = "two pupils"
plug_in = lab.ratio(errors[two, "plug-in at ridge"], errors[two, "SURE at ridge"])
lab.glue("plug-in", plug_in.value, ".1f")

# %% [markdown]
# Predictions are worth more than any refinement of the shrinkage: the step from *SURE*, which has none, to *SURE at
# ridge* is the largest in the table after the first. The plug-in fails where it matters most. At $n = 2$ it takes half
# the variance for the whole, trusts the averages, and ends at {glue:text}`plug-in` times the error.
# The arcsine rule is behind at two pupils and level elsewhere. And the beta-binomial rule at the same predictions is as
# good as SURE, slightly better if anything. Once a model has explained most of what differs between districts, what
# remains looks enough like a Beta distribution.
#
# ### Two samples
#
# The RAND health insurance experiment gave families free care or a share of their bills, by lot, and counted their
# visits to the doctor {cite:p}`newhouse1993free`. Sort the person-years into cells by an index of chronic disease,
# self-rated health and physical limitation, take the cells' rates of *any visit in the year* under both plans for the
# truth, and draw 3 to 15 person-years of each cell and arm. The effect of free care in each cell is to be estimated
# from these.

# %%
visits = binomials.visit_rates(load_rand_health())
generator = session.stream("arms")
arm_trials = torch.randint(3, 16, visits.shape, generator=generator).double()
control, treated = (
    binomials.draw_counts(visits[arm], arm_trials[arm], n_draws, generator)
    for arm in (0, 1)
)
samples = treated, arm_trials[1], control, arm_trials[0]
effect, effects = binomials.differences(*samples), visits[1] - visits[0]
grid = strengths.cpu()
mean_effects = cross_fit(
    binomials.mean_of_values(effect.values),
    len(effects),
    n_folds=n_folds,
    generator=session.stream("folds", "cells"),
)
by_arm = [
    binomials.choose_by_likelihood(x, n, grid).estimates
    for x, n in ((treated, arm_trials[1]), (control, arm_trials[0]))
]
plugged = binomials.differences(*samples, plug_in=True)
two_samples = {
    "difference": effect.values,
    "mean effect alone": mean_effects,
    "plug-in": binomials.choose_by_sure(plugged, grid, mean_effects).estimates,
    "two beta-binomials": by_arm[0] - by_arm[1],
    "SURE": binomials.choose_by_sure(effect, grid, mean_effects).estimates,
}
effect_errors = {
    rule: experiment.squared_error(estimates, effects)
    for rule, estimates in two_samples.items()
}
best_effects = binomials.loss_curve(effect, mean_effects, grid, effects).amin(dim=-1)
lab.glue("cells", len(effects), "d")
lab.glue("effect", effects.mean().item(), ".3f")
lab.glue("effect-spread", effects.std().item(), ".3f")

# %% [markdown]
# There are {glue:text}`cells` cells, whose effects have mean {glue:text}`effect` and standard deviation
# {glue:text}`effect-spread`. The last panel of {numref}`fig-compound-binomials-rules` shows the errors. The rival that
# shrinks each arm by its own beta-binomial model estimates two rates well; their difference is another question, and
# SURE asks that one.
#
# ### Regret
#
# How much is lost to the oracle, the best strength in hindsight? The paper proves asymptotic optimality and bounds the
# regret for shrinkage to predictions. So districts are drawn with replacement, as many as we like, the ridge regression
# predicts them, and SURE picks one $\lambda$ for $N$ of them, in three designs. The common centre, chosen as well, has a
# regret of its own: it is measured in three made-up populations, the two above and *mild*, with rates from Beta(2, 6) in
# 2 to 15 trials.

# %%
options = {"n_draws": n_regret_draws, "n_folds": n_folds, "penalty": ridge_penalty}
many = max([*regret_sizes, len(columns["NABOVE"]) + 1])  # more than there are
drawn_districts = binomials.school_districts(columns, many, session.stream("regret"))
regret = {}  # one tensor over the draws for each size
for design in ("two pupils", "2 to 12", "more if rich"):
    regret[design] = [
        experiment.regret_at_predictions(
            drawn_districts.first(size),
            design,
            strengths,
            lambda *names, at=(design, size): session.stream("regret", *at, *names),
            **options,
        ).cpu()
        for size in lab.progress(regret_sizes, f"regret, {design}")
    ]
free_regret = {}
for name in ("two kinds", "mild", "rare"):
    free_regret[name] = [
        experiment.regret_at_free_centre(
            name,
            size,
            strengths,
            lambda *names, at=(name, size): session.stream("regret", *at, *names),
            n_draws=n_regret_draws,
        ).cpu()
        for size in lab.progress(regret_sizes, f"regret, {name}")
    ]

# %% [markdown]
# ```{glue:figure} rules
# :name: fig-compound-binomials-rules
# :alt: Four panels. Two dot plots of relative errors by setting, the blue dots of SURE next to one throughout and grey markers of other rules far to the right in some rows. A log-log plot of regret curves falling parallel to a dotted line of slope minus one. A bar chart of errors for treatment effects, with SURE lowest.
#
# Top: mean squared error of each rule over that of the oracle of linear shrinkage, without predictions (left) and at
# those of the ridge regression (right). Without predictions SURE (blue) is near the oracle in every row, and every grey
# rule is far from it in some row. With predictions the beta-binomial rule is as near. Bottom left: the regret, the part
# of the loss that the oracle would have saved, falls like 1/N (dotted), for shrinkage to predictions (blue) and for a
# centre that is chosen as well (grey). Bottom right: the effect of free care on visits to the doctor, error of five
# rules; the oracle is the dashed line.
# ```

# %% tags=["hide-input"]
MARKERS = {
    "SURE": "o",
    "SURE, monotone": "*",
    "beta-binomial": "s",
    "NPMLE": "D",
    "arcsine": "^",
    "plug-in": "v",
    "ridge alone": "X",
    "plain average": "|",
}


def draw_rules(axes, rows, rules, suffix=""):
    """Errors of the rules over the oracle's, a row a setting."""
    for rule in rules:
        oracle = f"oracle{suffix}"
        ratios = [
            float(lab.ratio(errors[row, rule], errors[row, oracle])) for row in rows
        ]
        label = rule.removesuffix(suffix)
        colour = lab.ACCENT if "SURE" in label else lab.BASELINE
        fill = lab.ACCENT if label == "SURE" else "none"
        style = {"color": colour, "mfc": fill, "label": label}
        axes.plot(ratios, range(len(rows)), MARKERS[label], **style)
    axes.set(
        xscale="log", xlabel="error over the oracle's", ylim=(len(rows) - 0.5, -0.5)
    )
    axes.set_yticks(range(len(rows)), rows)
    axes.xaxis.set(major_locator=FixedLocator((0.5, 1, 2, 4)), major_formatter="{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    place = {"loc": "lower center", "bbox_to_anchor": (0.35, 1), "ncols": 3}
    axes.legend(handletextpad=0.1, columnspacing=1, **place)


# %% tags=["hide-input", "remove-output"]
ratios = {"height_ratios": [1.25, 1]}
fig, ((left, right), (bottom, bars)) = lab.figure(2, 2, height=5.8, gridspec_kw=ratios)
draw_rules(left, settings, rules)
draw_rules(right, designs, rules_at_ridge, " at ridge")
styles = ("o-", "s--", "^-.")
for colour, group in ((lab.ACCENT, regret), (lab.BASELINE, free_regret)):
    for (name, values), style in zip(group.items(), styles, strict=True):
        means = [value.mean() for value in values]
        bottom.loglog(regret_sizes, means, style, color=colour, ms=3, label=name)
start = 2 * regret["more if rich"][0].mean() * regret_sizes[0]
slope = [start / size for size in regret_sizes]
bottom.loglog(regret_sizes, slope, ":", color="black", lw=1, label="slope −1")
bottom.set(xlabel="number of units N", ylabel="regret")
bottom.legend(fontsize=6.5, ncols=2)
heights = [1e3 * effect_errors[rule].mean().item() for rule in two_samples]
colours = [*[lab.BASELINE] * (len(heights) - 1), lab.ACCENT]
bars.barh(range(len(heights)), heights, color=colours)
bars.axvline(1e3 * best_effects.mean().item(), color="black", ls="--", lw=1)
bars.set_yticks(range(len(heights)), two_samples)
bars.set_xlabel("mean squared error (thousandths)")
bars.invert_yaxis()
lab.glue("rules", fig)

# %% [markdown]
# ### Intervals
#
# Cross-fitted predictions, and the strength that SURE picks in each of many draws: how often does the 95 % interval hold
# the expected gain over the plain average? Expected means at that strength and those predictions, over new draws of the
# pupils. The gain that is realised in the same draw varies as well, and the interval was not built for it: it holds that
# one in {glue:text}`realised` of the draws.

# %%
coverage, realised = {}, {}
for name in ("two pupils", "2 to 12", "more if rich"):
    successes = binomials.draw_counts(
        districts.rates, drawn[name], n_coverage_draws, session.stream("coverage", name)
    ).to(session.device)
    ridge = binomials.ridge_regression(
        covariates, successes, designs[name], penalty=ridge_penalty
    )
    folds = session.stream("coverage folds", name)
    targets = cross_fit(ridge, len(rates), n_folds=n_folds, generator=folds)
    sample = binomials.proportions(successes, designs[name])
    held, held_realised = experiment.cover_gain(sample, targets, strengths, rates)
    coverage[name] = lab.mean(held.double())
    realised[name] = lab.mean(held_realised.double())
lab.table(pd.DataFrame({"expected gain": coverage, "realised gain": realised}))
lab.glue("realised", 100 * min(map(float, realised.values())), ".0f", "%")

# %% [markdown]
# ### A prior that counts cannot show
#
# The abstract says why there should be no prior: binomial counts do not identify one. Three trials show it. The
# probabilities of the four counts depend on the first three moments of the prior alone, and two points, Gauss's, share
# these with the uniform distribution. No number of units tells the two priors apart. Yet their posterior means, which
# need the fourth moment, differ by up to {glue:text}`unidentified`. The strength that SURE picks does not depend on the
# answer.

# %%
counts_apart, means_apart = experiment.unidentified_prior()
lab.glue("unidentified", means_apart, ".3f")

# %% [markdown]
# ## The claims
#
# The paper's theorems and tables were not at hand, only its abstract, which the second column quotes. The rules were set
# on earlier draws and confirmed on fresh seeds before this run; those for the regret and the intervals of shrinkage to
# predictions, and for the prior, were set before their first run.

# %% tags=["hide-input"]
few = torch.tensor([0.01, 0.07, 0.2, 0.35, 0.5, 0.62, 0.8, 0.95], dtype=torch.float64)
any_class = (
    "“an approximate Stein's Unbiased Risk Estimator … given any class of estimators”"
)
unidentified = "“unlike the … Gaussian case, is unidentified due to discreteness”"
claims = [
    lab.Claim(
        "For linear shrinkage the estimated risk is unbiased at every n from 2 to 20"
        " (largest bias)",
        any_class,
        experiment.largest_linear_bias(few),
        lab.at_most(1e-12),
        "exact",
        source="implied",
    ),
    lab.Claim(
        "For any rule the bias of the estimated risk is p(1 − p)(1 − 2p) times a mean"
        " second difference (largest departure)",
        any_class,
        experiment.largest_departure_from_bias(few),
        lab.at_most(1e-12),
        "exact",
        source="ours",
    ),
    lab.Claim(
        "Two priors that give every count of three trials the same probability ask for"
        " different estimates (largest difference)",
        unidentified,
        means_apart if counts_apart < 1e-12 else float("nan"),
        lab.at_least(0.05),
        "exact",
        source="paper",
    ),
]

# %% tags=["hide-input"]
noisy = "plain averages “are noisy when the sample sizes … are small”"
boosts = "empirical Bayes methods “boost the average accuracy by borrowing information”"
assisted = "“machine learning-assisted linear shrinkage”"
fixed = "“treats the sample size and mean parameters as fixed quantities”"


def compare(words, quote, rule, rivals, names, threshold, source):
    """A claim on the largest ratio of errors, a rule over its rivals."""
    ratios = [
        lab.ratio(errors[name, rule], errors[name, rival])
        for name in names
        for rival in rivals
    ]
    bound = lab.at_most(threshold)
    measured = max(ratios, key=float)
    return lab.Claim(words, quote, measured, bound, "statistical", source=source)


bayes, ridge_rule = "beta-binomial", "SURE at ridge"
claims += [
    compare(
        "Shrinkage to cross-fitted predictions has at most 0.35 of the plain average's"
        " error (2 to 12 pupils)",
        *(noisy, ridge_rule, ["plain average"], [shown], 0.35, "paper"),
    ),
    compare(
        "The beta-binomial rule has at most 0.6 of the plain average's error (2 to 12)",
        *(boosts, bayes, ["plain average"], [shown], 0.6, "paper"),
    ),
    compare(
        "Shrinkage to predictions beats beta-binomial empirical Bayes without them"
        " (2 to 12 pupils)",
        *(assisted, ridge_rule, [bayes], [shown], 0.65, "implied"),
    ),
]

# %% tags=["hide-input"]
direct = "“directly without resorting to Gaussian approximations … small sample sizes”"
priors = [bayes, "NPMLE"]
claims += [
    compare(
        "At n = 2 the unbiased variance beats the plug-in, at the same predictions",
        *(direct, ridge_rule, ["plug-in at ridge"], [two], 0.6, "implied"),
    ),
    compare(
        "At small n and at small p the binomial SURE beats the Gaussian one on the"
        " arcsine scale (worse of two pupils and rare)",
        *(direct, "SURE", ["arcsine"], [two, "rare"], 0.9, "paper"),
    ),
    compare(
        "Where n informs about p, SURE beats the beta-binomial and the nonparametric"
        " prior (worse of two)",
        *(fixed, "SURE", priors, [rich], 0.9, "implied"),
    ),
    max(
        (
            compare(
                "SURE is at most 6 % behind the beta-binomial rule centred at the same"
                " predictions (worst of four designs)",
                *(
                    "no figure",
                    ridge_rule,
                    ["beta-binomial at ridge"],
                    [n],
                    1.06,
                    "ours",
                ),
            )
            for n in designs
        ),
        key=lambda claim: float(claim.measured),
    ),
]

# %% tags=["hide-input"]
growth = regret_sizes[-1] / regret_sizes[0]
optimal = "“asymptotic optimality, regret bounds”"
both = "“in both one-sample and two-sample settings”"
claims += [
    lab.Claim(
        f"From N = {regret_sizes[0]} to {regret_sizes[-1]} the regret of shrinkage to"
        " predictions falls faster than 1/√N (worst of three designs)",
        optimal,
        max(
            (lab.ratio(values[-1], values[0]) for values in regret.values()), key=float
        ),
        lab.at_most(growth**-0.5, standard_errors=2),
        "statistical",
        source="paper",
    ),
    lab.Claim(
        "95 % intervals for the gain at the chosen strength and the ridge predictions"
        " cover it (coverage farthest from 0.96, of three designs)",
        "“valid inference”",
        max(coverage.values(), key=lambda estimate: abs(estimate.value - 0.96)),
        lab.between(0.93, 0.99),
        "statistical",
        source="paper",
    ),
    lab.Claim(
        "Two samples: shrunk effects have less than half the error of differences of"
        " averages",
        both,
        lab.ratio(effect_errors["SURE"], effect_errors["difference"]),
        lab.at_most(0.5),
        "statistical",
        source="paper",
    ),
]

# %% tags=["claims", "hide-input"]
claims += [
    lab.Claim(
        "Two samples: shrunk effects beat the difference of two beta-binomial"
        " estimates",
        both,
        lab.ratio(effect_errors["SURE"], effect_errors["two beta-binomials"]),
        lab.at_most(1, standard_errors=2),
        "statistical",
        source="implied",
    ),
    lab.NotChecked(
        "With a known prior the computation is difficult when sample sizes differ",
        "“the computation is difficult when the sample sizes are heterogeneous”",
        "a judgement of effort, and not of the method's",
    ),
    lab.NotChecked(
        "The approach works on data of firm discrimination, education and innovation",
        "“three datasets on firm discrimination, education outcomes, and innovation"
        " rates”",
        "the data are in no package; education is matched in kind",
    ),
]
lab.show_claims(claims)

# %% [markdown]
# One row is ours and a tie: where a good model supplies the centres, the prior is not what decides; what the compound
# view adds there is that nothing had to be assumed to know it.
#
# ## Where it breaks
#
# The weak point is the sentence below {eq}`compound-loss`: *if $m_i$ has not seen $X_i$*. The mean of
# $(\hat p_i - p_i)(\hat p_i - m_i)$ is the variance of $\hat p_i$ **less its covariance with $m_i$**. A model that is
# fitted to all units and predicts the same units has seen everything. The estimate then counts on a gain of up to twice
# the covariance, and that gain is not there. The ridge regression has thirteen coefficients to see with, and its estimated
# risk comes out {glue:text}`ridge-seen` thousandths too low. A random forest of fully grown trees all but copies
# the averages that it was trained on, and to SURE it looks like a prophet.

# %% [markdown]
# ```{glue:figure} forest-curves
# :name: fig-compound-binomials-forest
# :alt: Two panels of curves against the strength of shrinkage. Left, solid curves lie around the dashed ones. Right, solid curves fall to negative values at large strengths, far below the dashed ones.
#
# Estimated risk (solid) and true loss (dashed) of shrinkage to a random forest, one pair of curves for each draw.
# Cross-fitted, the estimates err by the noise of SURE. Fitted to all districts and predicting the same districts, the
# forest has seen what it predicts: every estimate falls far below zero, while the losses end higher than those of the
# cross-fitted forest.
# ```

# %%
trials, pairs = drawn[shown], {"cross-fitted": [], "in-sample": []}
for draw in lab.progress(range(min(n_forest_draws, n_draws)), "forests"):
    curves = experiment.forest_curves(
        districts,
        counts[shown][draw].cpu(),
        trials,
        strengths.cpu(),
        seed=session.child_seed("forest", draw),
        folds=session.stream("forest folds", draw),
        n_folds=n_folds,
        n_trees=n_trees,
        min_leaf=min_leaf,
    )
    for way, pair in curves.items():
        pairs[way].append(pair)
pairs = {way: torch.stack(found) for way, found in pairs.items()}
delivered = {
    way: true.gather(1, estimated.argmin(dim=1, keepdim=True)).mean().item()
    for way, (estimated, true) in (
        (way, found.unbind(1)) for way, found in pairs.items()
    )
}
believed = pairs["in-sample"][:, 0]
picked = strengths.cpu()[believed.argmin(dim=1)]
lab.glue("forest", 1e3 * delivered["cross-fitted"], ".1f")
lab.glue("forest-seen", 1e3 * delivered["in-sample"], ".1f")
lab.glue("forest-believed", 1e3 * believed.amin(dim=1).mean().item(), ".1f")
lab.glue("forest-infinite", picked.isinf().sum().item(), "d")
lab.glue("forest-draws", len(picked), "d")

ridge = binomials.ridge_regression(
    covariates, counts[shown], designs[shown], penalty=ridge_penalty
)
everyone = torch.arange(len(rates))
seen = measured[shown], ridge(everyone, everyone), strengths
too_low = binomials.loss_curve(*seen, rates) - binomials.sure_curve(*seen)
lab.glue("ridge-seen", 1e3 * too_low[:, best].mean().item(), ".1f")

# %% tags=["hide-input", "remove-output"]
fig, panels = lab.figure(1, 2, height=2.6, sharey=True)
for axes, (way, found) in zip(panels, pairs.items(), strict=True):
    for curve, style, colour in zip(
        found.unbind(dim=1), ("-", "--"), (lab.ACCENT, "black"), strict=True
    ):
        thin = {"color": colour, "lw": 0.9, "alpha": 0.7}
        axes.plot(axis, curve[:, finite].T, style, **thin)
    axes.axhline(0, color=lab.BASELINE, lw=0.8)
    axes.set(xscale="log", xlabel="strength λ (trials)", title=way)
panels[0].plot([], [], "-", color=lab.ACCENT, label="estimated risk")
panels[0].plot([], [], "--", color="black", label="true loss")
panels[0].set_ylabel("mean squared error")
panels[0].legend(loc="lower left")
lab.glue("forest-curves", fig)

# %% [markdown]
# In {glue:text}`forest-infinite` of {glue:text}`forest-draws` draws the in-sample
# forest makes SURE discard the averages altogether. It promises an error of
# {glue:text}`forest-believed` thousandths, below zero as no error can be, and delivers
# {glue:text}`forest-seen`. Cross-fitted, the same forest delivers
# {glue:text}`forest`. Who compares the two by their estimated risks takes the wrong one without a
# doubt. An unbiased estimate of the risk is only as good as the independence that it rests on. In {doc}`noise2score`
# a formula of the same family rests on the noise being what it is said to be.
#
# Two limits are smaller. A unit with a single trial says nothing of its variance, so that $n_i \ge 2$ is needed, and
# the code refuses less. And the best of many estimated risks is too good to be true: report the interval, not the
# minimum.
#
# ## Bigger
#
# ```bash
# regularity run compound_binomials -f gpu     # 30,000 districts, regret to 25,600 units, intervals to 0.2 %
# regularity run compound_binomials -f paper   # 2,000 draws, forests of 500 trees
# ```
#
# or, by hand,
#
# ```bash
# papermill notebooks/stein/compound_binomials.ipynb out.ipynb -f notebooks/stein/compound_binomials.gpu.yaml
# ```
#
# The paper's own data, on firm discrimination, education outcomes and innovation rates, are in no package. One pupil in
# twenty of the real districts is the design nearest to the second.
#
# ## Exercises
#
# 1. **One trial.** For $n = 1$ and $\delta = m + w(x - m)$, for which $w$ has the risk an unbiased estimate all the
#    same? Compare the terms in $p^2$, then look at {eq}`compound-loss` for the same $w$.
# 2. **The wrong coin.** Derive {eq}`compound-bias`: write $\mathbb{E}_{n-1}$ as an average of two $\mathbb{E}_{n-2}$
#    with weights $p$ and $1 - p$, and subtract the same with weights one half. Which weights give the rule an estimate
#    that is exact at $p = 0.1$? Would you use it?
# 3. **Common events.** The form for rare events fails for common ones. Build its mirror image out of
#    {func}`~regularity.foundations.risk.sure_binomial` by exchanging successes and failures, in two lines, and add it
#    to {numref}`fig-compound-binomials-bias`.
# 4. **A useless prediction.** Replace the ridge predictions by uniform random numbers. Predict $\hat\lambda$ and the
#    error in each design, then run. Which design is hurt?
# 5. **How many folds?** Set `n_folds` to 2, then to 50. What does each do to the ridge, and to the forest? Why does the
#    estimated risk stay right throughout?
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
