"""The Pareto front, by hand."""

import pytest

from nlg_distill.comparing.pareto import on_front


def test_a_point_that_another_beats_in_both_is_not_on_the_front():
    points = [(1.0, 10.0), (2.0, 20.0), (3.0, 15.0), (4.0, 30.0)]
    assert on_front(points) == [True, True, False, True]


def test_as_cheap_and_worse_or_as_good_and_dearer_is_beaten():
    assert on_front([(1.0, 10.0), (1.0, 9.0), (2.0, 10.0)]) == [True, False, False]


def test_points_that_are_equal_are_on_the_front_together():
    assert on_front([(1.0, 10.0), (1.0, 10.0), (2.0, 10.0)]) == [True, True, False]


@pytest.mark.parametrize(
    ("directions", "expected"),
    [
        ({}, [True, False, True]),
        ({"cost": "max"}, [False, False, True]),
        ({"quality": "min"}, [True, True, False]),
        ({"cost": "max", "quality": "min"}, [False, True, True]),
    ],
)
def test_each_number_has_a_direction(directions, expected):
    assert on_front([(1.0, 10.0), (2.0, 5.0), (3.0, 20.0)], **directions) == expected


def test_what_diverged_is_on_no_front_and_beats_nobody():
    nan, infinite = float("nan"), float("inf")
    assert on_front([(1.0, nan), (2.0, 5.0), (nan, 9.0), (3.0, infinite)]) == [
        False,
        True,
        False,
        False,
    ]


def test_no_points_have_no_front():
    assert on_front([]) == []
