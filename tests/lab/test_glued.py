"""What prose cites: numbers, words and figures, marked as MyST-NB reads them."""

import base64
import struct
import subprocess
import sys

import matplotlib
import pytest

from regularity import lab

TEXT = "application/papermill.record/text/plain"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((-1.2345,), "−1.23"),
        ((0.5, ".1f", "dB"), "0.5\N{NO-BREAK SPACE}dB"),
        ((312, "d"), "312"),
        (("by half",), "by half"),
        (
            (lab.Estimate(1.234, 0.05, "dB"),),
            "1.23\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.05\N{NO-BREAK SPACE}dB",
        ),
    ],
)
def test_a_number_is_kept_as_it_will_be_read(shown, arguments, text):
    lab.glue("gain", *arguments)
    (data, metadata) = shown[0]
    assert data == {TEXT: text}
    assert metadata == {"scrapbook": {"name": "gain", "mime_prefix": "application/papermill.record/"}}


def test_a_figure_is_an_ordinary_output_with_a_name(shown):
    matplotlib.use("agg")
    fig, _ = lab.figure(1, 2, height=2.0)
    lab.glue("answer", fig)
    (data, metadata) = shown[0]
    picture = base64.b64decode(data["image/png"])
    width, height = struct.unpack(">II", picture[16:24])
    assert picture.startswith(b"\x89PNG")
    assert data["text/plain"].endswith("with 2 axes>")
    assert width > height > 0
    assert metadata["scrapbook"] == {"name": "answer", "mime_prefix": ""}
    assert matplotlib.pyplot.get_fignums() == []


def test_the_same_figure_gives_the_same_bytes(shown):
    matplotlib.use("agg")
    for _ in range(2):
        fig, axes = lab.figure()
        axes.plot([1, 3, 2])
        lab.glue("answer", fig)
    assert shown[0][0] == shown[1][0]


def test_nothing_of_the_site_is_needed():
    code = (
        "import sys; from regularity import lab; lab.glue('a', 1.0);"
        "print([name for name in ('myst_nb', 'nbformat') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.bad_input
@pytest.mark.parametrize("value", [None, [1.0], {"a": 1}])
def test_what_cannot_be_told_is_refused(value):
    with pytest.raises(TypeError, match="value must be a number, a text, an Estimate or a figure"):
        lab.glue("gain", value)
