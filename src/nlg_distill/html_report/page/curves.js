// Learning curves: one line for each run, coloured by its group.

function pointsOf(run, name) {
  const found = run.series[name];
  if (!found) return [];
  return found[1].map((value, i) => [run.steps[found[0]][i], value]);
}

function seriesNames(runs) {
  return [...new Set(runs.flatMap((run) => Object.keys(run.series)))].sort();
}

function showCurves(place, corpus) {
  const runs = corpus.groups.flatMap((group) => group.runs).map((run) => data.runs[run]);
  const names = seriesNames(runs);
  if (!names.length) {
    place.append(h("p", { class: "soft" }, "No curves are known of these runs: they were made before curves were kept, or their models are no longer in the store."));
    return;
  }
  const hidden = new Set();
  const chosen = firstCurves(names, corpus.monitor);
  const charts = chosen.map(() => h("div"));
  const legend = h("ul", { class: "legend" });

  function draw() {
    chosen.forEach((name, i) => charts[i].replaceChildren(lineChart({ lines: linesOf(corpus, name, hidden), title: name })));
  }

  function drawLegend(focus = null) {
    const entry = (group, i) => h("button", {
      type: "button", "aria-pressed": String(!hidden.has(i)), "data-group": i,
      click: () => { if (!hidden.delete(i)) hidden.add(i); drawLegend(i); draw(); },
    }, swatch(look(corpus.groups, i)), h("span", {}, broken(group.label)));
    const all = (text, hide) => h("button", {
      type: "button", class: "soft", "data-group": text,
      click: () => { corpus.groups.forEach((_, i) => (hide ? hidden.add(i) : hidden.delete(i))); drawLegend(text); draw(); },
    }, text);
    legend.replaceChildren(...[...corpus.groups.map(entry), all("show all", false), all("hide all", true)].map((button) => h("li", {}, button)));
    if (focus !== null) legend.querySelector(`[data-group="${focus}"]`).focus();
  }

  drawLegend();
  draw();
  place.append(
    h("p", { class: "soft small" }, curvesNote(runs)),
    legend,
    h("div", { class: "pair" }, chosen.map((name, i) => h("figure", {},
      h("div", { class: "controls" }, choice(i ? "Right chart" : "Left chart", names.map((each) => [each, each]), name, (value) => { chosen[i] = value; draw(); })),
      charts[i]))),
  );
}

function firstCurves(names, monitor) {
  const first = names.includes(monitor) ? monitor : names.find((name) => name.startsWith("val/")) || names[0];
  return [first, names.includes("train/loss") ? "train/loss" : names[names.length - 1]];
}

function curvesNote(runs) {
  const without = runs.filter((run) => !Object.keys(run.series).length).length;
  const parts = ["One line for each run. Greedy texts of some validation pairs are scored in training, so val/ differs from the scores above."];
  if (without) parts.push(`Of ${count(without, "run", "runs")} no curves are known.`);
  if (data.thinned) parts.push(`${count(data.thinned, "curve", "curves")} of the report had more than ${data.points} points and ${data.thinned === 1 ? "shows" : "show"} as many of them, evenly spread.`);
  return parts.join(" ");
}

function linesOf(corpus, name, hidden) {
  return corpus.groups.flatMap((group, i) => {
    if (hidden.has(i)) return [];
    return group.runs.map((run) => ({
      points: pointsOf(data.runs[run], name), ...look(corpus.groups, i), name: runLabel(run),
    })).filter((line) => line.points.length);
  });
}
