"""How large a report on 100 runs is, how long it takes to write, and to open in Chromium.

python benchmarks/report_opening.py [number of runs]

The runs are made up, but as large as those of the table `losses`: 1,500 test texts of 25 words,
20 curves of 200 points. Needs chromium and chromedriver (on Debian: chromium, chromium-driver).
"""

import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROUNDS, SEEDS, TEXTS, WORDS, POINTS = 5, 4, 1500, 25, 200
CURVES = [f"train/{name}" for name in "abcdefghijklmnopq"] + ["train/loss", "val/bleu", "val/nll"]
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def leave_runs(home, number):
    from report_runs import falling, leave_run

    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(2000)]

    def text():
        return " ".join(chance.choices(words, k=WORDS))

    pairs = [(text(), text(), text()) for _ in range(TEXTS)]
    for run in range(number):
        seed = run % SEEDS + 1
        leave_run(
            home,
            f"run_{run}",
            seed=seed,
            bleu=20 + chance.random(),
            speed=500 + 500 * chance.random(),
            overrides=[f"loss=[nll,loss_{run // SEEDS}]"],
            loss=["nll", f"loss_{run // SEEDS}"],
            texts=pairs,
            written=[text() for _ in pairs],
            curves=falling(CURVES, POINTS, run),
        )


def opening_seconds(page):
    """From asking for the page until its script has run and it is laid out, in a new browser."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        begin = time.perf_counter()
        driver.get(page.as_uri())
        drawn = "requestAnimationFrame(() => setTimeout(arguments[0], 0))"
        driver.execute_async_script(drawn)
        seconds = time.perf_counter() - begin
        assert driver.execute_script("return document.querySelectorAll('path.curve').length") > 0
        return seconds
    finally:
        driver.quit()


def main():
    from nlg_distill.html_report import write_report

    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        leave_runs(Path(folder), number)
        begin = time.perf_counter()
        page = write_report(Path(folder) / "runs")
        print(f"{number} runs: written in {time.perf_counter() - begin:.1f} s")
        print(f"{page.stat().st_size / 1e6:.1f} MB")
        times = [opening_seconds(page) for _ in range(ROUNDS)]
        print(
            f"opened in {statistics.median(times):.2f} s (median of {ROUNDS}, "
            f"{min(times):.2f} to {max(times):.2f})"
        )


if __name__ == "__main__":
    main()
