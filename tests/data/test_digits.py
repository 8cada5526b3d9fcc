"""The bundled digits, against scikit-learn's own file."""

import gzip
from importlib.resources import files

import numpy as np
import torch

from regularity.data import load_digits


def test_digits_are_the_rows_of_scikit_learns_file_in_sixteenths():
    packed = files("sklearn.datasets.data").joinpath("digits.csv.gz").read_bytes()
    rows = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",", dtype=np.int64)
    images, labels = load_digits()
    assert images.dtype is torch.float32
    assert labels.dtype is torch.int64
    assert torch.equal((16 * images).long().flatten(1), torch.from_numpy(rows[:, :64]))
    assert torch.equal(labels, torch.from_numpy(rows[:, 64]))
    assert images.min() == 0
    assert images.max() == 1
