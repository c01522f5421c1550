"""The plot of quality by cost: its points, its front, and a picture that is well formed."""

import xml.etree.ElementTree as ElementTree

import pytest
from finished_cases import leave_run

from nlg_distill.comparing.compare import write_plot
from nlg_distill.comparing.comparison import column_of, compare
from nlg_distill.comparing.pareto_plot import points_of
from nlg_distill.comparing.pareto_svg import BOTTOM, LEFT, RIGHT, TOP, axis
from nlg_distill.errors import UserError
from nlg_distill.runs.grouping import compared_runs, grouped

SVG = "{http://www.w3.org/2000/svg}"
SECONDS, BLEU = "total_training_seconds", "beam_5/bleu"


def leave_models(folder):
    """Seconds and BLEU: cheap 50 and 10 ± 1, dear 100 and 20, beaten 200 and 15."""
    facts = [("cheap", 1, 50, 9), ("cheap", 2, 50, 11), ("dear", 1, 100, 20), ("bad", 1, 200, 15)]
    for number, (name, seed, seconds, bleu) in enumerate(facts):
        result = {SECONDS: float(seconds)}
        leave_run(folder / str(number), name, seed, float(bleu), result=result)


def points(folder, cost=SECONDS, quality=BLEU):
    compared = compare(grouped(compared_runs([folder])[0]), metrics=[cost, quality])
    return points_of(compared, column_of(cost), column_of(quality))


def test_points_are_means_of_rows_and_those_that_none_beats_are_marked(tmp_path):
    leave_models(tmp_path)
    found = points(tmp_path).points
    assert [(p.label, p.x, p.y, p.on_front) for p in found] == [
        ("cheap", 50.0, 10.0, True),
        ("dear", 100.0, 20.0, True),
        ("bad", 200.0, 15.0, False),
    ]
    assert found[0].y_deviation == pytest.approx(2**0.5)  # of 9 and 11
    assert found[0].told == "BLEU K=5 10.0, s trained 50"


def test_directions_are_those_of_the_metrics(tmp_path):
    for number, (speed, perplexity) in enumerate([(100.0, 5.0), (200.0, 6.0), (50.0, 7.0)]):
        result = {"beam_5/source_words_per_second": speed, "perplexity": perplexity}
        leave_run(tmp_path / str(number), f"n{number}", result=result)
    found = points(tmp_path, "beam_5/source_words_per_second", "perplexity").points
    assert [point.on_front for point in found] == [True, True, False]


def test_a_row_without_a_number_is_left_out(tmp_path):
    leave_run(tmp_path / "0", "a", result={"peak_megabytes": 500.0})
    leave_run(tmp_path / "1", "b")
    found = points(tmp_path, "peak_megabytes")
    assert ([point.label for point in found.points], found.left_out) == (["a"], ["b"])


def test_what_has_no_direction_is_refused(tmp_path):
    leave_run(tmp_path / "0")
    with pytest.raises(UserError, match="whether mode_probability is better at its least"):
        points(tmp_path, quality="mode_probability")


def test_there_is_no_front_of_different_test_sets(tmp_path):
    leave_run(tmp_path / "0", "a")
    leave_run(tmp_path / "1", "b", texts=[{"source": "drei", "gold": "three"}])
    with pytest.raises(UserError, match=r"no front:\nNOT COMPARABLE .* The test set differs"):
        write_plot([tmp_path], cost=SECONDS, output=tmp_path / "plot.svg")


def test_there_is_no_front_of_seconds_of_different_machines(tmp_path):
    leave_run(tmp_path / "0", "a")
    leave_run(tmp_path / "1", "b", result={"machine": "another"})
    with pytest.raises(UserError, match=r"no front:\nNOT COMP.* s trained. The machine differs"):
        write_plot([tmp_path], cost=SECONDS, output=tmp_path / "plot.svg")
    assert not (tmp_path / "plot.svg").exists()
    write_plot([tmp_path], cost="parameters", output=tmp_path / "plot.svg")


def test_the_picture_has_every_point_at_its_place(tmp_path):
    leave_models(tmp_path / "runs")
    leave_run(tmp_path / "runs" / "9", "<&>", bleu=12.0)
    file = tmp_path / "plot.svg"
    write_plot([tmp_path / "runs"], cost=SECONDS, output=file)
    picture = ElementTree.parse(file).getroot()
    groups = [g for g in picture.iter(f"{SVG}g") if g.find(f"{SVG}circle") is not None]
    marks = {g.find(f"{SVG}title").text: g.find(f"{SVG}circle").attrib for g in groups}
    cheap, dear, bad, other = (
        marks[f"{name}: BLEU K=5 {bleu}, s trained {seconds}"]
        for name, bleu, seconds in [
            ("cheap", "10.0", 50),
            ("dear", "20.0", 100),
            ("bad", "15.0", 200),
            ("<&>", "12.0", 90),
        ]
    )
    assert [m["class"] for m in (cheap, dear, bad, other)] == ["front", "front", "beaten", "front"]
    across = [float(mark["cx"]) for mark in (cheap, dear, bad)]
    assert across[1] - across[0] == pytest.approx((across[2] - across[1]) / 2, abs=0.2)
    assert float(dear["cy"]) < float(bad["cy"]) < float(other["cy"]) < float(cheap["cy"])
    bars = [line for line in picture.iter(f"{SVG}line") if line.get("class") == "bar"]
    assert len(bars) == 1
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert {"cheap", "dear", "bad", "<&>", "s trained", "BLEU K=5"} < set(texts)
    assert "prefers-color-scheme: dark" in picture.find(f"{SVG}style").text
    assert picture.find(f"{SVG}desc").text == "On the Pareto front: cheap; dear; <&>."


@pytest.mark.parametrize(("quality", "numbers"), [(BLEU, (10, 20)), ("perplexity", (30, 5))])
def test_the_front_goes_at_a_models_quality_to_the_cost_of_the_next(tmp_path, quality, numbers):
    """50 and 100 s: between them, nothing is better than the first."""
    for seconds, number in zip((50.0, 100.0), numbers, strict=True):
        result = {SECONDS: seconds, "perplexity": float(number)}
        leave_run(tmp_path / f"{number}", f"n{number}", bleu=float(number), result=result)
    write_plot([tmp_path], cost=SECONDS, quality=quality, output=tmp_path / "plot.svg")
    picture = ElementTree.parse(tmp_path / "plot.svg").getroot()
    marks = [circle.attrib for circle in picture.iter(f"{SVG}circle")]
    first, second = sorted(marks, key=lambda mark: float(mark["cx"]))
    (path,) = (p.get("d") for p in picture.iter(f"{SVG}path") if p.get("class") == "line")
    assert path == f"M{first['cx']},{first['cy']} H{second['cx']}V{second['cy']}"


def test_labels_do_not_lie_on_each_other(tmp_path):
    for number in range(60):
        result = {SECONDS: 50.0 + number % 7}
        leave_run(tmp_path / str(number), f"method_{number}", bleu=10.0 + number, result=result)
    write_plot([tmp_path], cost=SECONDS, output=tmp_path / "plot.svg")
    picture = ElementTree.parse(tmp_path / "plot.svg").getroot()
    shown = [t for t in picture.iter(f"{SVG}text") if (t.text or "").startswith("method_")]
    places = [(float(t.get("x")), float(t.get("y")), 6.6 * len(t.text)) for t in shown]
    assert len(places) > 20
    below = {t.text for t in picture.iter(f"{SVG}text") if ": method_" in (t.text or "")}
    numbers = {t.text for t in picture.iter(f"{SVG}text") if "label" in t.get("class", "")}
    assert {line.partition(": ")[0] for line in below} < numbers
    told = {t.text for t in shown} | {line.partition(": ")[2] for line in below}
    assert told == {f"method_{number}" for number in range(60)}
    for i, (x, y, width) in enumerate(places):
        assert x >= LEFT
        assert x + width <= RIGHT
        for other_x, other_y, other_width in places[:i]:
            beside = x + width <= other_x or other_x + other_width <= x
            assert beside or abs(y - other_y) >= 14


def test_an_axis_has_round_numbers_and_room():
    found = axis("s", ",.0f", [(100.0, 10.0), (500.0, 0.0)], LEFT, RIGHT)
    assert found.ticks() == [100.0, 200.0, 300.0, 400.0, 500.0]
    assert LEFT < found.place(90.0) < found.place(500.0) < RIGHT
    alone = axis("s", ",.0f", [(100.0, 0.0)], BOTTOM, TOP)
    assert alone.place(100.0) == pytest.approx((TOP + BOTTOM) / 2)


def test_equal_ratios_are_equal_distances_on_a_logarithmic_axis():
    found = axis("s", ",.0f", [(10.0, 0.0), (1000.0, 0.0)], LEFT, RIGHT, log=True)
    places = [found.place(value) for value in (10.0, 100.0, 1000.0)]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1])
    assert found.ticks() == [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
    with pytest.raises(UserError, match="s has a number that is not positive: leave out --log"):
        axis("s", ",.0f", [(0.0, 0.0), (1.0, 0.0)], LEFT, RIGHT, log=True)


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"ends with \.svg, got plot\.png"):
        write_plot([tmp_path], cost=SECONDS, output=tmp_path.__class__("plot.png"))
