"""The Nile and the motorcycle: what the packages' own loaders give, and no network."""

from importlib.machinery import ModuleSpec

import numpy as np
import pytest
import torch
from skimage.data import stereo_motorcycle
from statsmodels.datasets import nile

from regularity.data import installed, load_disparity, load_nile


def test_the_nile_is_statsmodels_own():
    years, flows = load_nile()
    table = nile.load_pandas().data
    np.testing.assert_array_equal(years, table["year"])
    np.testing.assert_array_equal(flows, table["volume"])


def test_the_nile_has_two_levels():
    """Means up to the change of 1898 and after it, in 10⁸ m³, with the digits that analyses of the series quote."""
    years, flows = load_nile()
    assert flows[years <= 1898].mean().item() == pytest.approx(1097.75, abs=0.01)
    assert flows[years > 1898].mean().item() == pytest.approx(849.97, abs=0.01)


def test_the_disparity_is_scikit_images_own_with_the_unseen_as_nan():
    disparity, original = load_disparity(), stereo_motorcycle()[2]
    seen = np.isfinite(original)
    np.testing.assert_array_equal(disparity.numpy()[seen], original[seen])
    assert torch.isnan(disparity[torch.from_numpy(~seen)]).all()
    assert 0.05 < (~seen).mean() < 0.1


@pytest.mark.bad_input
@pytest.mark.parametrize("load", [load_nile, load_disparity])
def test_a_missing_package_or_file_is_named(load, monkeypatch, tmp_path):
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match="which is not installed"):
        load()
    empty = ModuleSpec("package", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(installed, "find_spec", lambda _: empty)
    with pytest.raises(FileNotFoundError, match="is not there"):
        load()
