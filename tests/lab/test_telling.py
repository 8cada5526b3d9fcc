"""Sources and numbers, as a notebook shows them."""

import inspect

import pytest
import torch

from regularity.foundations import networks, stein
from regularity.lab import telling


@pytest.fixture
def shown(monkeypatch):
    caught = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: caught.append(data))
    return caught


def test_show_gives_the_real_source_and_where_it_stands(shown):
    telling.show(stein.sure_gaussian, networks.UNet, docstrings=True)
    for data, shown_object in zip(shown, (stein.sure_gaussian, networks.UNet), strict=True):
        lines, first = inspect.getsourcelines(shown_object)
        assert "".join(lines).rstrip() in data["text/markdown"]
        module = shown_object.__module__.rsplit(".", 1)[1]
        assert (
            f"blob/main/src/regularity/foundations/{module}.py#L{first}-L{first + len(lines) - 1}"
            in (data["text/markdown"])
        )


def test_show_cuts_docstrings_and_nothing_else(shown):
    telling.show(networks.UNet)
    text = shown[0]["text/plain"]
    assert '    """A U-Net: at each scale two 3×3 convolutions' in text
    assert '        """Map images to images."""' in text
    assert "Parameters" not in text
    source = inspect.getsource(networks.UNet)
    code = [
        line for line in source.splitlines() if "self." in line or ("return" in line and line.endswith(")"))
    ]
    assert code
    assert all(line in text for line in code)


def test_numbers_are_glued_as_they_are_to_be_read(monkeypatch):
    glued = {}
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: glued.update({name: repr(value)}))
    telling.glue_number("a", -1.2345, ".2f", "dB")
    telling.glue_number("b", torch.tensor(3.14159), ".1f")
    telling.glue_number("c", 12, "d")
    telling.glue_text("d", "five of five")
    assert glued == {"a": "−1.23\N{NO-BREAK SPACE}dB", "b": "3.1", "c": "12", "d": "five of five"}


@pytest.mark.bad_input
@pytest.mark.parametrize("wrong", [torch.sin, 3, inspect.getsource])
def test_only_our_own_sources_are_shown(wrong):
    with pytest.raises(TypeError, match="objects must be functions or classes of regularity; got"):
        telling.show(wrong)
