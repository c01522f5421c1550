"""The report in a real browser: what a reader does with it, by pointer, by keyboard, on a phone."""

import json
import re
import shutil

import pytest
from report_reader import CONTRAST, Reader
from report_runs import TEXTS, falling, leave_run

from nlg_distill.html_report import write_report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="needs chromium and chromedriver: apt-get install chromium chromium-driver",
    ),
]
EVIL = "<img src=x onerror=\"document.title='run'\"></script><script>document.title='run'</script>"
TERMS = ["nll", "forward_kl"]
LOGGED = ["train/loss", "val/bleu", *(f"train/{term}" for term in TERMS)]


def shares(seed):
    share = [(step, 0.2 + 0.1 * seed) for step in range(49, 1000, 50)]
    rest = [(step, 1 - value) for step, value in share]
    return {"train/gradient_share/nll": share, "train/gradient_share/forward_kl": rest}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of a teacher, two losses with two seeds, and one run on another corpus."""
    home = tmp_path_factory.mktemp("report")
    curves = falling(["train/loss", "val/bleu", "train/nll"], 20, 0)
    leave_run(home, "a_teacher", name="teacher", bleu=30.0, speed=500.0, parameters=4000)
    for seed, bleu in ((1, 20.0), (2, 23.0)):
        leave_run(
            home,
            f"c_kl_{seed}",
            seed=seed,
            bleu=bleu,
            speed=1100.0,
            overrides=["loss=[nll,forward_kl]"],
            curves=falling(LOGGED, 20, seed) | shares(seed),
        )
        leave_run(
            home,
            f"b_nll_{seed}",
            name="baseline",
            seed=seed,
            bleu=17.5 + seed,
            loss=["nll"],
            curves=curves,
            written=["Good morning, Tom.", "Where is Tom?", "I have no time."],
        )
    texts = [(EVIL, EVIL, EVIL), *TEXTS[1:]]
    other = dict(texts=texts, written=[EVIL, "b", "c"], corpus="c1", overrides=["data=other"])
    leave_run(home, "z_other", name="third", **other)
    return write_report(home / "runs", title="A sweep")


@pytest.fixture(scope="module")
def chromium():
    """One browser for all tests."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def reader(chromium, page):
    return Reader(chromium).screen(1280).open(page)


def test_it_opens_without_an_error_or_a_request(reader, page):
    assert reader.texts("h1") == ["A sweep"]
    assert [log for log in reader.driver.get_log("browser") if log["level"] != "INFO"] == []
    messages = (json.loads(log["message"]) for log in reader.driver.get_log("performance"))
    asked = [
        message["message"]["params"]["request"]["url"]
        for message in messages
        if message["message"]["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    sections = reader.run(
        "return [...document.querySelectorAll('section > div')].map(e => e.childElementCount)"
    )
    assert len(sections) == 8
    assert all(sections)


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_the_page_does_not_scroll_sideways(chromium, page, width):
    reader = Reader(chromium).screen(width).open(page)
    for number in range(len(rows(reader))):
        reader.run("document.querySelectorAll('button.name')[arguments[0]].click()", number)
    assert len(reader.texts("tr.more")) == 3
    assert reader.run("return document.documentElement.scrollWidth") <= width
    assert reader.run("return innerWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(chromium, page, scheme):
    reader = Reader(chromium).screen(1280, scheme).open(page)
    assert reader.run(CONTRAST) == []
    paper = reader.run("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", paper))) < 60) is (scheme == "dark")


def rows(reader):
    return reader.texts("#scores table.main button.name")


def test_tab_and_enter_sort_the_table(reader):
    from selenium.webdriver.common.keys import Keys

    before = rows(reader)
    assert before == ["teacher", "baseline", "word_kd"]
    for _ in range(40):
        reader.press(Keys.TAB)
        if reader.driver.switch_to.active_element.text.startswith("PPL"):
            break
    else:
        pytest.fail("Tab does not come to the heading")
    reader.press(Keys.ENTER)
    assert rows(reader) == ["teacher", "word_kd", "baseline"]
    assert reader.driver.switch_to.active_element.text.startswith("PPL")
    reader.press(Keys.ENTER)
    assert rows(reader) == ["baseline", "word_kd", "teacher"]
    assert reader.texts("th[aria-sort=descending]") == ["PPL ↓"]


def test_a_number_tells_each_seed_by_pointer_and_by_arrow_keys(reader):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    cell = reader.one("#scores tbody tr:nth-child(3) td")
    assert cell.text == "21.5 ± 2.1"
    ActionChains(reader.driver).move_to_element(cell).perform()
    told = reader.one("#tip").text.split("\n")
    assert told[:5] == ["BLEU K=5", "seed 1", "20", "seed 2", "23"]
    assert told[5].startswith("nrefs:1|case:mixed|eff:no")
    reader.press(Keys.ESCAPE)
    assert not reader.one("#tip").is_displayed()
    reader.run("document.querySelector('#scores tbody tr:nth-child(2) button').focus()")
    reader.press(Keys.ARROW_RIGHT)
    assert "18.5" in reader.one("#tip").text
    reader.press(Keys.ARROW_DOWN)
    assert "23" in reader.one("#tip").text


def test_a_name_opens_overrides_artifacts_and_folders(reader):
    reader.click("#scores tbody tr:nth-child(3) button")
    more = reader.one("tr.more").text
    for text in ("loss=[nll,forward_kl]", "student/c_kl_2", "teacher/t0", "c_kl_1", "01234567"):
        assert text in more
    reader.click("#scores tbody tr:nth-child(3) button")
    assert not reader.driver.find_elements("css selector", "tr.more")


def test_a_column_can_be_hidden(reader):
    reader.click("#scores summary")
    reader.click("#scores .ticks input")
    assert not any(text.startswith("BLEU K=5") for text in reader.texts("#scores table.main th"))


def curves(reader):
    script = "return document.querySelectorAll('#curves figure:first-child path.curve').length"
    return reader.run(script)


def test_the_legend_hides_a_groups_curves(reader):
    assert curves(reader) == 4
    reader.click("#curves .legend li:nth-child(2) button")
    assert curves(reader) == 2
    assert (
        reader.one("#curves .legend li:nth-child(2) button").get_attribute("aria-pressed")
        == "false"
    )
    reader.click("#curves .legend li:nth-last-child(2) button")
    assert curves(reader) == 4


def test_arrow_keys_go_along_a_curve(reader):
    from selenium.webdriver.common.keys import Keys

    reader.run("document.querySelector('#curves .legend li:last-child button').focus()")
    for _ in range(2):  # past the select
        reader.press(Keys.TAB)
    assert "at step 49" in reader.one("#tip").text
    reader.press(Keys.ARROW_RIGHT)
    assert "baseline, seed 1" in reader.one("#tip").text
    assert "at step 99" in reader.one("#tip").text
    reader.press(Keys.ARROW_DOWN)
    assert "baseline, seed 2" in reader.one("#tip").text


def test_terms_and_their_mean_share_of_the_gradient(reader):
    for chart in ("first-child", "last-child"):
        selector = f"#terms figure:{chart} path.curve"
        assert len(reader.driver.find_elements("css selector", selector)) == 4
    assert "nll 35%, forward_kl 65%" in reader.one("#terms").text
    reader.choose("Group", "baseline")
    assert "One term alone is the whole gradient." in reader.one("#terms").text


def test_groups_that_none_beats_are_filled(reader):
    points = reader.run(
        "return [...document.querySelectorAll('#tradeoff figure:first-child .point')]"
        ".map((p) => [p.getAttribute('aria-label'), p.querySelector('.best') !== null])"
    )
    filled = {label.split(":")[0]: best for label, best in points}
    assert filled == {
        "teacher (teacher)": True,
        "word_kd": True,
        "baseline": False,
    }
    reader.choose("Quality", "PPL")
    assert "Lower is better" in reader.one("#tradeoff").text


def listed(reader):
    return reader.texts("#texts [role=option] > span:first-child")


def test_texts_are_sorted_filtered_and_walked_through_by_keys(reader):
    from selenium.webdriver.common.keys import Keys

    assert listed(reader) == [source for source, _, _ in TEXTS]
    reader.choose("Order", "student loses most")
    assert listed(reader)[0] == "Ich habe keine Zeit."
    reader.choose("Show", "student better than baseline")
    assert listed(reader) == ["Wo liegt der Bahnhof?"]
    reader.choose("Show", "all")
    reader.one("#texts [role=listbox]").send_keys(Keys.HOME)
    assert "I have none." in reader.one("#texts .written").text
    reader.press(Keys.ARROW_DOWN)
    assert "Guten Morgen, Tom." in reader.one("#texts .written").text
    assert reader.texts("#texts [aria-selected=true] > span:first-child") == ["Guten Morgen, Tom."]
    reader.one("#texts input[type=search]").send_keys("station")
    assert listed(reader) == ["Wo liegt der Bahnhof?"]
    reader.press("qqq")
    assert "No text is left by this filter." in reader.one("#texts").text


def test_words_that_the_gold_text_lacks_are_marked(reader):
    reader.run("document.querySelectorAll('#texts [role=option]')[1].click()")
    names = [name.split(":")[0] for name in reader.texts("#texts dt > span:first-child")]
    assert names == ["Source", "Gold", "Its teacher", "Baseline", "Student"]
    assert reader.texts("#texts mark") == ["Where's", "train", "Tom"]
    reader.choose("Mark what is not in", "nothing")
    assert reader.texts("#texts mark") == []


def test_settings_that_differ_between_two_runs(reader):
    reader.choose("One run", "baseline, seed 1")
    reader.choose("Another run", "word_kd, seed 2")
    names = reader.texts("#settings tbody th")
    assert names == ["loss.forward_kl.weight", "name", "seed"]
    assert reader.texts("#settings tbody tr:first-child td") == ["not there", "1"]
    reader.run("document.querySelector('#settings input[type=checkbox]').click()")
    assert "data.licence" in reader.texts("#settings tbody th")


def test_another_corpus_has_its_own_runs_and_its_texts_stay_texts(reader):
    reader.choose("What is shown is of the corpus", "other (1 group)")
    assert rows(reader) == ["third"]
    assert reader.run("return document.title") == "A sweep"
    assert listed(reader)[0] == EVIL
    assert reader.texts("#texts dd")[0] == EVIL
