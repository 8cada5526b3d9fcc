"""Sources, as a notebook shows them."""

import inspect

import pytest

from regularity import lab
from regularity.foundations import networks, proximal


def test_show_gives_the_real_source_and_where_it_stands(shown):
    lab.show(proximal.forward_gradient, networks.UNet)
    for (data, _), shown_object in zip(shown, (proximal.forward_gradient, networks.UNet), strict=True):
        module = shown_object.__module__.rsplit(".", 1)[1]
        assert f"blob/main/src/regularity/foundations/{module}.py" in data["text/markdown"]
        assert inspect.getsource(shown_object).rstrip().splitlines()[-1] in data["text/markdown"]


def test_show_can_keep_docstrings_whole(shown):
    from regularity.lab.sources import show

    show(proximal.forward_gradient, docstrings=True)
    assert inspect.getsource(proximal.forward_gradient).rstrip() in shown[0][0]["text/markdown"]


def test_show_cuts_docstrings_and_nothing_else(shown):
    lab.show(networks.UNet)
    text = shown[0][0]["text/plain"]
    assert '    """A U-Net: at each scale two 3×3 convolutions' in text
    assert "Parameters" not in text
    source = inspect.getsource(networks.UNet)
    code = [
        line for line in source.splitlines() if "self." in line or ("return" in line and line.endswith(")"))
    ]
    assert code
    assert all(line in text for line in code)


@pytest.mark.bad_input
def test_what_is_no_source_of_this_package_is_refused():
    with pytest.raises(
        TypeError, match=r"objects must be functions or classes of regularity; got <.*getsource"
    ):
        lab.show(inspect.getsource)
