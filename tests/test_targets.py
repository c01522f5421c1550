"""Whose text the student is trained on."""

import pytest

from nlg_distill.data.corpus import Pair
from nlg_distill.targets import Beam, Gold, TeacherBeam, TeacherInterpolated, TeacherText

PAIR = Pair("die Katze sitzt hier", "the cat is sitting over here")
BEAM = Beam(beam_size=3, num_hypotheses=3)
WRITTEN = [
    TeacherText("a dog stands there", -1.0),
    TeacherText("the cat is sitting there", -2.0),
    TeacherText("the cat sits", -3.0),
]


def test_gold_keeps_what_people_wrote():
    assert Gold().pick(PAIR, WRITTEN) == PAIR.target
    assert Gold().writing is None


def test_teacher_beam_takes_the_most_probable():
    assert TeacherBeam(writing=BEAM).pick(PAIR, WRITTEN) == "a dog stands there"


def test_teacher_interpolated_takes_the_closest_to_gold():
    assert TeacherInterpolated(writing=BEAM).pick(PAIR, WRITTEN) == "the cat is sitting there"


def test_teacher_interpolated_compares_texts_shorter_than_four_words():
    written = [TeacherText("no", -1.0), TeacherText("yes", -2.0)]
    assert TeacherInterpolated(writing=BEAM).pick(Pair("ja", "yes"), written) == "yes"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_teacher_interpolated_takes_the_more_probable_of_equals(order):
    unlike = [TeacherText("x y", -1.0), TeacherText("z w", -2.0)]
    written = [unlike[i] for i in order]
    assert TeacherInterpolated(writing=BEAM).pick(PAIR, written) == written[0].text
