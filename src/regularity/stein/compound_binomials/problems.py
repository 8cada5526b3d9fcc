"""Small samples whose truth is known: school districts, health plans, made-up populations; and what predicts them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from sklearn.ensemble import RandomForestRegressor
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least, check_positive
from regularity.foundations.choices import choose

Predictor = Callable[[Int[Tensor, " train"], Int[Tensor, " held_out"]], Float[Tensor, "*draws held_out"]]


def draw_counts(
    rates: Float[Tensor, "*#draws n"], trials: Float[Tensor, " n"], n_draws: int, generator: torch.Generator
) -> Float[Tensor, "draws n"]:
    """Draw successes from Bin(trials, rates), several times for the same units."""
    rates, trials = as_floats(rates=rates, trials=trials)
    shape = (n_draws, len(trials))
    return torch.binomial(trials.expand(shape).contiguous(), rates.expand(shape).contiguous(), generator)


# --- School districts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Districts:
    """School districts: their true pass rates, pupils tested, covariates, and the share that is not poor."""

    rates: Float[Tensor, " n"]
    tested: Float[Tensor, " n"]
    covariates: Float[Tensor, "n d"]
    wealth: Float[Tensor, " n"]

    def first(self, n: int) -> "Districts":
        """The first n of them."""
        return Districts(self.rates[:n], self.tested[:n], self.covariates[:n], self.wealth[:n])


def school_districts(columns: Mapping[str, Tensor], n: int, generator: torch.Generator) -> Districts:
    """Take the districts of `regularity.data.load_star98`, or more than there are: then drawn with replacement."""
    if n > len(columns["NABOVE"]):
        chosen = torch.randint(len(columns["NABOVE"]), (n,), generator=generator)
        columns = {name: column[chosen] for name, column in columns.items()}
    tested = columns["NABOVE"] + columns["NBELOW"]
    covariates = [column for name, column in columns.items() if name not in ("NABOVE", "NBELOW")]
    wealth = 1 - columns["LOWINC"] / 100
    return Districts(columns["NABOVE"] / tested, tested, torch.stack(covariates, dim=1), wealth)


def pupils_drawn(districts: Districts, generator: torch.Generator) -> dict[str, Float[Tensor, " n"]]:
    """Say how many pupils are drawn in each district, in four designs."""
    return {
        "two pupils": torch.full_like(districts.rates, 2),
        "2 to 12": torch.randint(2, 13, districts.rates.shape, generator=generator).double(),
        "more if rich": 2 + torch.round(28 * districts.wealth**3),
        "one in twenty": torch.round(districts.tested / 20).clamp(2, 200),
    }


# --- Made-up populations ------------------------------------------------------------------------------------------


def _rare(n_units: int, n_draws: int, uniform: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    trials = (2 + 6 * uniform(n_units)).floor()
    return trials, 1 - uniform(n_draws, n_units) ** (1 / 19)  # Beta(1, 19), by its quantiles


def _mild(n_units: int, n_draws: int, uniform: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    trials = (2 + 14 * uniform(n_units)).floor()
    return trials, uniform(n_draws, n_units, 7).kthvalue(
        2, dim=-1
    ).values  # Beta(2, 6): the second smallest of 7


def _two_kinds(n_units: int, n_draws: int, uniform: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    half = n_units // 2
    trials = torch.full((n_units,), 30.0, dtype=torch.float64)
    trials[:half] = 3
    rates = torch.sin(math.pi / 2 * uniform(n_draws, n_units)).square()  # Beta(½, ½), by its quantiles
    rates[:, :half] = 0.5 + 0.02 * torch.special.ndtri(uniform(n_draws, half).clamp(1e-12, 1 - 1e-12))
    return trials, rates


POPULATIONS = {"rare": _rare, "mild": _mild, "two kinds": _two_kinds}


def made_up_population(
    name: str, n_units: int, n_draws: int, generator: torch.Generator
) -> tuple[Float[Tensor, " n"], Float[Tensor, "draws n"]]:
    """Make the trials of each unit, and the rates of each unit and draw.

    "rare": rates one in twenty, 2 to 7 trials. "mild": rates from Beta(2, 6), 2 to 15 trials. "two kinds": half the
    units near one half in 3 trials, the others near zero or one in 30.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    make = choose("name", name, POPULATIONS)
    check_at_least("n_units", n_units, 2)
    return make(n_units, n_draws, uniform)


# --- Health plans -------------------------------------------------------------------------------------------------


def visit_rates(years: Mapping[str, Tensor], smallest: int = 12) -> Float[Tensor, "2 cells"]:
    """Rate of any visit to the doctor in a year, by cell of health: with a share of the bill, and with free care.

    `years` holds the person-years of `regularity.data.load_rand_health`. Cells are 24 quantile bins of an index of
    chronic disease, by self-rated health, by physical limitation, where both arms have `smallest` person-years.
    """
    edges = torch.quantile(years["disea"], torch.linspace(0, 1, 25).to(years["disea"])).unique()
    disease = torch.bucketize(years["disea"].contiguous(), edges[1:-1])
    health = torch.where(years["hlthf"] + years["hlthp"] > 0, 2, torch.where(years["hlthg"] > 0, 1, 0))
    cell = (disease * 3 + health) * 2 + (years["physlm"] > 0).long()
    visited, free = (years["mdvis"] > 0).double(), years["lncoins"] == 0

    def per_cell(terms: Tensor, arm: Tensor) -> Tensor:
        sums = torch.zeros(int(cell.max()) + 1, dtype=torch.float64)
        return sums.index_add_(0, cell[arm], terms[arm])

    people = torch.stack([per_cell(torch.ones_like(visited), arm) for arm in (~free, free)])
    visits = torch.stack([per_cell(visited, arm) for arm in (~free, free)])
    return (visits / people.clamp_min(1))[:, (people >= smallest).all(dim=0)]


# --- Predictions to shrink to, for `regularity.foundations.cross_fitting.cross_fit` -------------------------------


def mean_of_values(values: Float[Tensor, "*draws n"]) -> Predictor:
    """Predict every unit by the mean of the values of the units that are trained on."""
    (values,) = as_floats(values=values)

    def predict(train: Tensor, held_out: Tensor) -> Tensor:
        return values[..., train].mean(dim=-1, keepdim=True).expand(*values.shape[:-1], len(held_out))

    return predict


def pooled_mean(successes: Float[Tensor, "*draws n"], trials: Float[Tensor, " n"]) -> Predictor:
    """Predict every unit by the pooled rate ΣX / Σn of the units that are trained on."""
    successes, trials = as_floats(successes=successes, trials=trials, integers=torch.float64)

    def predict(train: Tensor, held_out: Tensor) -> Tensor:
        rate = successes[..., train].sum(dim=-1, keepdim=True) / trials[train].sum()
        return rate.expand(*successes.shape[:-1], len(held_out))

    return predict


def ridge_regression(
    covariates: Float[Tensor, "n d"],
    successes: Float[Tensor, "*draws n"],
    trials: Float[Tensor, " n"],
    *,
    penalty: float = 5.0,
) -> Predictor:
    """Predict rates by ridge regression on standardised covariates, each unit weighted by its number of trials.

    The penalty is on the squared coefficients; the intercept is free. Predictions are clipped to [0, 1].
    """
    check_positive("penalty", penalty)
    covariates, successes, trials = as_floats(
        covariates=covariates, successes=successes, trials=trials, integers=torch.float64
    )
    spread = covariates.std(dim=0)
    if bool((spread == 0).any()):
        constant = (spread == 0).nonzero().flatten().tolist()
        raise ValueError(f"covariates must not be constant; got columns {constant} of one value")
    standard = (covariates - covariates.mean(dim=0)) / spread
    design = torch.cat([torch.ones_like(standard[:, :1]), standard], dim=1)
    penalties = penalty * torch.eye(design.shape[1], dtype=design.dtype, device=design.device)
    penalties[0, 0] = 0

    def predict(train: Tensor, held_out: Tensor) -> Tensor:
        rows = design[train]
        gram = rows.T @ (trials[train, None] * rows) + penalties
        coefficients = torch.linalg.solve(gram, (successes[..., train] @ rows)[..., None])[..., 0]
        return (coefficients @ design[held_out].T).clamp(0, 1)

    return predict


def random_forest(
    covariates: Float[Tensor, "n d"],
    successes: Float[Tensor, " n"],
    trials: Float[Tensor, " n"],
    *,
    n_trees: int = 80,
    min_leaf: int = 5,
    seed: int = 0,
) -> Predictor:
    """Predict the rates of one draw by scikit-learn's random forest, each unit weighted by its number of trials.

    Each split looks at half the covariates.
    """
    covariates, successes, trials = as_floats(
        covariates=covariates, successes=successes, trials=trials, integers=torch.float64
    )
    if successes.ndim != 1:
        raise ValueError(f"successes must be those of one draw, (n,); got {tuple(successes.shape)}")
    features, rates, weights = (part.cpu().numpy() for part in (covariates, successes / trials, trials))

    def predict(train: Tensor, held_out: Tensor) -> Tensor:
        seen, asked = train.cpu().numpy(), held_out.cpu().numpy()
        options = {"min_samples_leaf": min_leaf, "max_features": 0.5, "random_state": seed}
        forest = RandomForestRegressor(n_trees, **options)
        forest.fit(features[seen], rates[seen], sample_weight=weights[seen])
        return torch.as_tensor(forest.predict(features[asked])).to(successes)

    return predict
