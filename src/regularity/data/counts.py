"""Counts out of real surveys, which come inside statsmodels: read from its files, without importing it."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from regularity.data.installed import packaged_file

_FILES = {"star98": "star98/star98.csv", "randhie": "randhie/randhie.csv"}

_DISTRICT_COVARIATES = (
    "LOWINC",
    "PERASIAN",
    "PERBLACK",
    "PERHISP",
    "PERMINTE",
    "AVYRSEXP",
    "AVSALK",
    "PERSPENK",
    "PTRATIO",
    "PCTAF",
    "PCTCHRT",
    "PCTYRRND",
)


def load_star98() -> dict[str, Float[Tensor, " 303"]]:
    """Load the mathematics scores of 303 Californian school districts, with what is known of each district.

    Returns
    -------
    Columns by name, float64. ``NABOVE`` and ``NBELOW``: pupils above and not above the national median. Twelve
    covariates, shares in per cent: ``LOWINC`` low-income pupils, ``PERASIAN``, ``PERBLACK``, ``PERHISP`` pupils by
    group, ``PERMINTE`` minority teachers, ``AVYRSEXP`` teachers' mean years in service, ``AVSALK`` mean salary and
    ``PERSPENK`` spending a pupil (thousands of dollars), ``PTRATIO`` pupils a teacher, ``PCTAF`` pupils in courses
    that prepare for university, ``PCTCHRT`` charter schools, ``PCTYRRND`` year-round schools. The file's products
    of covariates are left out.

    Raises
    ------
    ModuleNotFoundError
        If statsmodels is not installed.
    FileNotFoundError
        If the installed statsmodels does not carry the file.

    References
    ----------
    Gill (2001), Generalized Linear Models: A Unified Approach. The data's author retains all rights in them.

    Examples
    --------
    >>> districts = load_star98()
    >>> int((districts["NABOVE"] + districts["NBELOW"]).max())
    38852
    """
    rows = _read("star98")
    tested, above = rows[:, 0], rows[:, 1]
    columns = {"NABOVE": above, "NBELOW": tested - above}
    return columns | {name: rows[:, 2 + i] for i, name in enumerate(_DISTRICT_COVARIATES)}


def load_rand_health() -> dict[str, Float[Tensor, " 20190"]]:
    """Load the RAND health insurance experiment: 20,190 person-years under randomly assigned insurance plans.

    Returns
    -------
    Columns by name, float64: ``mdvis`` visits to a doctor in the year, ``lncoins`` log(1 + the patient's share of
    the costs in per cent), so 0 is free care, ``idp`` 1 under a plan with an individual deductible, ``lpi`` log of
    the payment for taking part, ``fmde`` log of the maximum expenditure, ``physlm`` physical limitation (from 0,
    none, to 1), ``disea`` an index of chronic diseases, ``hlthg``, ``hlthf``, ``hlthp`` 1 for self-rated health
    good, fair, poor (none: excellent).

    Raises
    ------
    ModuleNotFoundError
        If statsmodels is not installed.
    FileNotFoundError
        If the installed statsmodels does not carry the file.

    References
    ----------
    Newhouse and the Insurance Experiment Group (1993), Free for All? Lessons from the RAND Health Insurance
    Experiment. The selection of columns: Cameron and Trivedi (2005), Microeconometrics, Section 20.3. In the public
    domain.

    Examples
    --------
    >>> years = load_rand_health()
    >>> round((years["mdvis"] > 0).double().mean().item(), 2)
    0.69
    """
    names = ("mdvis", "lncoins", "idp", "lpi", "fmde", "physlm", "disea", "hlthg", "hlthf", "hlthp")
    return dict(zip(names, _read("randhie").T, strict=True))


def _read(name: str) -> Float[Tensor, "rows columns"]:
    """Read the numbers of one file inside statsmodels' folder."""
    path = packaged_file("statsmodels", f"datasets/{_FILES[name]}", name)
    return torch.from_numpy(np.loadtxt(path, delimiter=",", skiprows=1))
