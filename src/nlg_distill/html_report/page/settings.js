// What two runs were told, and where they differ.

function showSettings(place) {
  const options = data.runs.map((_, i) => [i, runLabel(i)]);
  const state = { a: 0, b: firstOther(), all: false };
  const table = h("div");

  function draw() {
    const [a, b] = [allSettings(state.a), allSettings(state.b)];
    const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
    const differing = names.filter((name) => JSON.stringify(a[name]) !== JSON.stringify(b[name]));
    const shown = state.all ? names : differing;
    const cell = (settings, name) => name in settings
      ? differing.includes(name) && state.all ? h("mark", {}, code(plain(settings[name]))) : code(plain(settings[name]))
      : h("span", { class: "soft" }, "not there");
    table.replaceChildren(
      h("p", { class: "soft small" }, `${differing.length} of ${count(names.length, "setting differs", "settings differ")}. Where results and logs go is left out.`),
      shown.length
        ? scrolled("Settings", plainTable(["Setting", broken(runLabel(state.a)), broken(runLabel(state.b))], shown.map((name) => [code(name), cell(a, name), cell(b, name)]), [1, 2]))
        : h("p", {}, "Both were told the same."),
    );
  }

  draw();
  place.append(
    h("div", { class: "controls wide" },
      choice("One run", options, state.a, (value) => { state.a = Number(value); draw(); }),
      choice("Another run", options, state.b, (value) => { state.b = Number(value); draw(); }),
      tick("also those that agree", false, (on) => { state.all = on; draw(); })),
    table,
  );
}

function allSettings(run) {
  return { ...data.settings, ...data.runs[run].settings };
}

function firstOther() {
  const found = data.runs.findIndex((run, i) => i > 0 && groupOf(i) !== groupOf(0) && run.stage === data.runs[0].stage);
  return found > 0 ? found : Math.min(1, data.runs.length - 1);
}

function plain(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}
