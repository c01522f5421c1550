"""A reader of a report in Chromium, and how it measures contrast."""

# The texts of the page below WCAG's 4.5 to 1, and the colours of charts below 3 to 1.
CONTRAST = """
const parse = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (one, other) => {
  const [dark, bright] = [light(one), light(other)].sort((x, y) => x - y);
  return (bright + 0.05) / (dark + 0.05);
};
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const low = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || !element.getClientRects().length || element.closest("script")) continue;
  const style = getComputedStyle(element);
  const ink = parse(element.ownerSVGElement ? style.fill : style.color);
  const ratio = contrast(ink, behind(element));
  if (ratio < 4.5) low.push([element.tagName, element.textContent.slice(0, 30), ratio].join(" "));
}
for (const name of ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"]) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.className = name;
  if (contrast(parse(getComputedStyle(probe).color), behind(probe)) < 3) low.push(name);
  probe.remove();
}
return low;
"""


class Reader:
    """What a reader sees and does."""

    def __init__(self, driver):
        self.driver = driver

    def screen(self, width, scheme="light", height=900):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # a click hits what was aimed at
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        return self

    def open(self, page):
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(page.as_uri())
        return self._when_painted()

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def texts(self, selector):
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        return self.run(script, selector)

    def press(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)
        self._when_painted()

    def choose(self, label, text):
        from selenium.webdriver.support.select import Select

        path = f"//label[starts-with(normalize-space(), '{label}')]/select"
        select = Select(self.driver.find_element("xpath", path))
        select.select_by_visible_text(text)
        self._when_painted()

    def click(self, selector):
        element = self.one(selector)
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()
        self._when_painted()

    def _when_painted(self):
        """What has changed is on the screen: a chart is drawn once its place has a width."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
        )
        return self
