"""A table's word or an error that helps."""

import pytest

from regularity.foundations.choices import choose

TABLE = {"one_cycle": 1, "constant": 2, "Poisson": 3}


def test_a_word_of_the_table():
    assert [choose("schedule", word, TABLE) for word in TABLE] == [1, 2, 3]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("given", "tail"),
    [
        ("onecycle", "got 'onecycle'; did you mean 'one_cycle'?"),
        ("poisson", "got 'poisson'; did you mean 'Poisson'?"),
        ("CONSTANT", "got 'CONSTANT'; did you mean 'constant'?"),
        ("xyz", "got 'xyz'"),
        (None, "got None"),
        (["constant"], "got ['constant']; did you mean 'constant'?"),
    ],
)
def test_any_other_word_is_refused_with_the_nearest(given, tail):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        choose("schedule", given, TABLE)
    assert str(caught.value) == f"schedule must be one of 'one_cycle', 'constant', 'Poisson'; {tail}"
