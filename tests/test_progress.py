"""Progress where nobody sees a bar."""

from nlg_distill import progress


def test_outside_a_terminal_a_line_is_printed_twice_a_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.progress("train student", 2000) as bar:
        for _ in range(2000):
            now[0] += 0.05
            bar.advance()
    assert capsys.readouterr().err.splitlines() == [
        "train student: 600 of 2,000, 0:00:30",
        "train student: 1,201 of 2,000, 0:01:00",
        "train student: 1,802 of 2,000, 0:01:30",
    ]
