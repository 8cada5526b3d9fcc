"""Real counts out of statsmodels' files, against statsmodels' own loaders and published sizes."""

import subprocess
import sys

import numpy as np
import pytest

from regularity.data import counts, installed, load_rand_health, load_star98


def test_star98_is_what_statsmodels_loads():
    from statsmodels.datasets import star98

    peer = star98.load_pandas()
    columns = load_star98()
    for name in ("NABOVE", "NBELOW"):
        np.testing.assert_array_equal(columns[name], peer.endog[name])
    covariates = [name for name in columns if name not in ("NABOVE", "NBELOW")]
    assert len(covariates) == 12
    for name in covariates:
        np.testing.assert_array_equal(columns[name], peer.exog[name])


def test_star98_holds_counts_of_303_districts():
    columns = load_star98()
    tested = columns["NABOVE"] + columns["NBELOW"]
    rates = columns["NABOVE"] / tested
    assert len(rates) == 303
    assert (tested.min(), tested.max()) == (33, 38852)
    assert round(rates.mean().item(), 3) == 0.437
    assert round(rates.std().item(), 3) == 0.184
    for values in columns.values():
        assert (values >= 0).all()


def test_rand_health_is_what_statsmodels_loads():
    from statsmodels.datasets import randhie

    peer = randhie.load_pandas().data
    columns = load_rand_health()
    assert list(columns) == list(peer.columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(values, peer[name])


def test_rand_health_has_the_published_size_and_rate_of_visits():
    years = load_rand_health()
    assert len(years["mdvis"]) == 20_190
    assert round((years["mdvis"] == 0).double().mean().item(), 4) == 0.3124
    health = years["hlthg"] + years["hlthf"] + years["hlthp"]
    assert set(health.tolist()) == {0.0, 1.0}


def test_loading_does_not_import_statsmodels():
    script = (
        "import sys; from regularity.data import load_rand_health, load_star98; load_star98(); load_rand_health(); "
        "sys.exit('statsmodels' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.bad_input
def test_a_file_that_the_package_lost_is_named(monkeypatch):
    monkeypatch.setitem(counts._FILES, "star98", "star98/lost.csv")
    with pytest.raises(FileNotFoundError, match=r"star98 should come with statsmodels but .*lost\.csv"):
        load_star98()


@pytest.mark.bad_input
def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="randhie comes inside statsmodels, which is not installed"):
        load_rand_health()
