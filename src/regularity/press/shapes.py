"""The shapes of files of JSON, which people edit, a merge leaves half done, or a disk writes in part."""

from collections.abc import Mapping
from typing import Any

from regularity.lab.claims import SIGNS

NUMBER, OPTIONAL = (int, float), (int, float, None)
TEXT = (str, [str])  # nbformat lets every text be a list of lines

OUTPUT = {"output_type": str, "metadata?": {}, "data?": {}, "text?": TEXT}
CELL = {"cell_type": str, "source": TEXT, "metadata": {"tags?": [str]}, "outputs?": [OUTPUT]}
NOTEBOOK = {"cells": [CELL], "metadata": {"regularity?": {}}}
CODE_CELL = {"outputs": [OUTPUT], "execution_count": (int, None)}

VERDICT = {"claim": str, "verdict": set(SIGNS)}
CLAIM = {
    **VERDICT,
    **dict.fromkeys(("source", "paper", "unit", "rule", "kind", "revised", "reason"), str),
    **dict.fromkeys(("measured", "error"), OPTIONAL),
}
PROVENANCE = {
    "date": str,
    "commit": (str, None),
    "device": str,
    "versions": {},
    "seconds": NUMBER,
    "peak_memory_mib": NUMBER,
}
RUN = {"seed": int, "claims": [VERDICT]}  # older records say less of a claim than newer ones
RECORD = {
    "size": str,
    "digest": str,
    "command": str,
    "date": str,
    "device": str,
    "parameters": {},
    "runs": [RUN],
}


def fits(value: Any, shape: Any) -> bool:
    """Say whether what was read from JSON has a shape.

    Parameters
    ----------
    value
        What was read.
    shape
        A type; None; a tuple of alternatives; a set of the words that there are; a list with the shape of each entry;
        a dict with the shapes of what an object has at least, and under names with "?" of what it may lack.

    Returns
    -------
    Whether it fits.
    """
    match shape:
        case None:
            return value is None
        case tuple():
            return any(fits(value, alternative) for alternative in shape)
        case set():
            return isinstance(value, str) and value in shape
        case [entry]:
            return isinstance(value, list) and all(fits(item, entry) for item in value)
        case dict():
            return isinstance(value, Mapping) and all(
                fits(value[key], inner) if (key := name.rstrip("?")) in value else name.endswith("?")
                for name, inner in shape.items()
            )
    return isinstance(value, shape) and not (isinstance(value, bool) and shape is not bool)
