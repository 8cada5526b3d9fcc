"""Peer libraries that serve as oracles."""

import importlib
import sys
import warnings
from types import ModuleType

import torch


def import_deepinv() -> ModuleType:
    """Import deepinv, also where torchvision's compiled operators were built for another torch.

    deepinv imports torchvision and uses none of its operators here. The wheel on the package index is built for
    CUDA; beside a CPU build of torch its import fails for want of two operators' declarations, which this supplies.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision  # noqa: F401
        except RuntimeError as error:
            if "torchvision::nms does not exist" not in str(error):
                raise
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            for operator in ("nms", "qnms"):
                signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(f"torchvision::{operator}", signature)
        return importlib.import_module("deepinv")
