"""Tables of results."""

import numpy as np
import pandas as pd
import pytest

from regularity import lab


def test_a_table_is_written_with_the_digits_its_numbers_have(shown):
    frame = pd.DataFrame(
        {"loss": [0.123456, -2.0], "gain": [lab.Estimate(1.5, 0.25, "dB"), lab.Estimate(2.0)], "n": [3, 4]},
        index=["ours", "<theirs>"],
    )
    lab.table(frame, {"loss": ".2f"})
    text, html = shown[0][0]["text/plain"], shown[0][0]["text/html"]
    assert [line.split() for line in text.splitlines()] == [
        ["loss", "gain", "n"],
        ["ours", "0.12", "1.5", "±", "0.2", "dB", "3"],
        ["<theirs>", "−2.00", "2.00", "4"],
    ]
    assert "&lt;theirs&gt;" in html
    assert "style" not in html
    assert frame["loss"].tolist() == [0.123456, -2.0]


def test_floats_without_a_format_have_three_digits(shown):
    lab.table(pd.DataFrame({"a": np.array([0.123456, np.nan])}))
    assert [line.split()[1:] for line in shown[0][0]["text/plain"].splitlines()[1:]] == [
        ["0.123"],
        ["not", "a", "number"],
    ]


@pytest.mark.bad_input
def test_a_format_of_no_column_is_refused():
    with pytest.raises(ValueError, match=r"specs must name columns of \['a'\]; got \['b'\]"):
        lab.table(pd.DataFrame({"a": [1]}), {"b": ".1f"})
