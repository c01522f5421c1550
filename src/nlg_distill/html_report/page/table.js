// The table: one row for each group of runs, sorted by any column.

function showScores(place, corpus) {
  const shown = new Set(corpus.columns.filter((column) => column.shown).map((column) => column.path));
  const open = new Set();
  const order = { path: null, up: true };
  const table = h("table", { class: "main" });
  const told = h("summary", {});

  function draw() {
    const columns = corpus.columns.filter((column) => shown.has(column.path));
    const rows = sorted(corpus.groups, order).map((group) => [
      scoreRow(corpus, group, columns, open.has(group), () => {
        if (!open.delete(group)) open.add(group);
        redraw(`name${corpus.groups.indexOf(group)}`);
      }),
      open.has(group) ? moreOf(group, columns.length + 1) : null,
    ]);
    table.replaceChildren(
      h("thead", {}, h("tr", {}, head({ path: null, head: "" }, order, sort), columns.map((column) => head(column, order, sort)))),
      h("tbody", {}, rows.flat().filter((row) => row !== null)),
    );
    told.textContent = `Columns: ${columns.length} of ${corpus.columns.length}`;
  }

  function redraw(focus) {
    hideTip();
    draw();
    table.querySelector(`[data-key="${focus}"]`).focus();
  }

  function sort(column) {
    if (column.path === null) Object.assign(order, { path: null, up: true });
    else if (order.path === column.path) order.up = !order.up;
    else Object.assign(order, { path: column.path, up: column.better !== "max" });
    redraw(`head${column.path}`);
  }

  draw();
  table.addEventListener("keydown", (event) => betweenCells(event, table));
  place.append(
    h("p", { class: "soft small" }, tableNote(corpus)),
    scrolled("Scores", table, "tall"),
    h("details", {}, told, h("div", { class: "ticks" }, corpus.columns.map((column) =>
      tick(column.head, column.shown, (on) => {
        if (on) shown.add(column.path);
        else shown.delete(column.path);
        draw();
      })))),
  );
}

function tableNote(corpus) {
  const several = corpus.groups.some((group) => group.runs.length > 1);
  const decoding = corpus.groups.flatMap((group) => group.runs).map((run) => data.runs[run].decoding).find((each) => each);
  const parts = [several ? "Mean ± sample standard deviation over the seeds of a group." : "One seed each, so no deviations."];
  if (decoding) {
    parts.push(`Scores on ${count(decoding.sentences, "test text", "test texts")}; speeds with ${count(decoding.threads, "thread", "threads")}, batches of ${decoding.batch_tokens.toLocaleString("en-US")} tokens, ${decoding.precision}, on ${decoding.device}, whatever else ran beside them.`);
  }
  parts.push("A heading sorts, “Group” as at first; a name opens what the group was made with; a number tells each seed’s.");
  return parts.join(" ");
}

function sorted(groups, order) {
  if (order.path === null) return groups;
  const value = (group) => (group.stats[order.path] || { mean: null }).mean;
  const known = groups.filter((group) => value(group) !== null);
  known.sort((a, b) => (order.up ? value(a) - value(b) : value(b) - value(a)));
  return [...known, ...groups.filter((group) => value(group) === null)];
}

function head(column, order, sort) {
  const here = order.path === column.path && column.path !== null;
  const state = here ? (order.up ? "ascending" : "descending") : null;
  return h("th", { scope: "col", "aria-sort": state },
    h("button", { type: "button", click: () => sort(column), "data-key": `head${column.path}` },
      column.path === null ? "Group" : column.head,
      h("span", { class: "arrow", "aria-hidden": "true" }, here ? (order.up ? " ↑" : " ↓") : "")));
}

function scoreRow(corpus, group, columns, open, toggle) {
  const name = h("button", {
    type: "button", class: "name", "aria-expanded": String(open), click: toggle,
    "data-key": `name${corpus.groups.indexOf(group)}`,
  }, broken(group.label));
  if (!open) {
    tells(name, () => [
      h("div", {}, `${count(group.runs.length, "run", "runs")}: ${group.runs.map((run) => `seed ${data.runs[run].seed}`).join(", ")}`),
      h("div", { class: "soft" }, "Opens overrides, folders and artifacts"),
    ]);
  }
  const tag = group.stage === "teacher" && !group.label.startsWith("teacher") ? h("span", { class: "tag" }, "teacher") : null;
  return h("tr", {}, h("th", { scope: "row" }, name, tag), columns.map((column) => scoreCell(group, column)));
}

function scoreCell(group, column) {
  const found = group.stats[column.path];
  if (!found) return h("td", { class: "soft" }, "–");
  if (found.mean === null) return h("td", { class: "soft" }, "not finite");
  const fact = !column.path.includes("/");
  const deviation = found.sd === null || (fact && found.sd === 0) ? null : h("span", { class: "sd" }, ` ± ${written(found.sd, column.form)}`);
  const cell = h("td", { tabindex: -1 }, written(found.mean, column.form), deviation);
  return tells(cell, () => {
    const runs = group.runs.map((run) => data.runs[run]).filter((run) => column.path in run.scores);
    const signature = runs.map((run) => run.signatures[column.path]).find((each) => each);
    return [
      h("div", { class: "soft" }, column.head),
      pairs(runs.map((run) => [`seed ${run.seed}`, exact(run.scores[column.path])])),
      signature ? h("div", { class: "code soft" }, signature) : [],
    ].flat();
  });
}

// Arrow keys go from cell to cell, so that a number's seeds are told without a pointer.
function betweenCells(event, table) {
  const cell = event.target.closest("th, td");
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const move = moves[event.key];
  if (!move || !cell) return;
  const rows = [...table.rows].filter((row) => !row.classList.contains("more"));
  const row = rows[rows.indexOf(cell.parentElement) + move[0]];
  const next = row && row.cells[cell.cellIndex + move[1]];
  if (!next) return;
  event.preventDefault();
  (next.querySelector("button") || next).focus();
}

function moreOf(group, width) {
  const runs = group.runs.map((run) => data.runs[run]);
  const roles = [...new Set(runs.flatMap((run) => Object.keys(run.artifacts)))];
  const shared = roles.filter((role) => runs.length > 1 && runs.every((run) => run.artifacts[role] === runs[0].artifacts[role]));
  const own = roles.filter((role) => !shared.includes(role));
  const overrides = runs[0].overrides.filter((each) => !each.startsWith("seed="));
  const inside = h("div", { class: "more-inside" },
    h("p", { class: "small" }, "Overrides: ", code(overrides.join(" ") || "none")),
    shared.length ? h("p", { class: "small" }, "All of ", shared.map((role, i) => [i ? ", " : "", code(runs[0].artifacts[role])])) : null,
    scrolled("Runs of the group", plainTable(
      ["seed", "folder", "made (UTC)", "commit", ...own],
      runs.map((run) => [
        String(run.seed),
        code(run.folder),
        run.made ? run.made.slice(0, 16).replace("T", " ") : "not known",
        shortCommit(run.commit),
        ...own.map((role) => code(run.artifacts[role] || "")),
      ]),
      [1],
    )));
  return h("tr", { class: "more" }, h("td", { colspan: width }, inside));
}
