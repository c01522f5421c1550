// The texts: a list to sort and filter, and one of its entries as everyone wrote it.

const SORTS = [
  ["order", "as in the test set"],
  ["gain", "student gains most"],
  ["loss", "student loses most"],
  ["best", "student’s best"],
  ["worst", "student’s worst"],
  ["long", "longest source"],
];
const FILTERS = [
  ["all", "all"],
  ["better", "student better than baseline"],
  ["worse", "student worse than baseline"],
  ["other", "student wrote another text"],
  ["same", "student wrote the same text"],
];

function showTexts(place, corpus) {
  const texts = corpus.texts;
  if (!texts) {
    place.append(h("p", { class: "soft" }, corpus.beam ? "No texts are shown: --texts was 0." : "These models wrote no texts: there are no sources to write for, and they are scored by the gold text alone."));
    return;
  }
  if (!texts.chosen.length) {
    place.append(h("p", { class: "soft" }, "No texts are shown: there is no room for a single one of each run."));
    return;
  }
  const state = { ...firstWriters(corpus), beside: new Set(), sort: "order", filter: "all", words: "", against: "gold", at: 0 };
  const list = h("div", { class: "list", role: "listbox", tabindex: 0, "aria-label": "Texts" });
  const told = h("p", { class: "soft small under", "aria-live": "polite" });
  const detail = h("div", { "aria-live": "off" });
  let order = [];

  function draw() {
    order = chosenTexts(texts, state);
    if (!order.includes(state.at)) state.at = order.length ? order[0] : null;
    told.textContent = textsNote(texts, order.length);
    list.replaceChildren(...order.map((i) => option(texts, state, i, () => choose(i))));
    drawDetail();
  }

  function drawDetail() {
    detail.replaceChildren(state.at === null ? h("p", { class: "soft" }, "No text is left by this filter.") : oneText(texts, state));
    for (const each of list.children) each.setAttribute("aria-selected", String(each.id === `text${state.at}`));
    if (state.at === null) list.removeAttribute("aria-activedescendant");
    else list.setAttribute("aria-activedescendant", `text${state.at}`);
  }

  function choose(i) {
    state.at = i;
    drawDetail();
    const entry = document.getElementById(`text${i}`);
    const [top, bottom] = [entry.offsetTop, entry.offsetTop + entry.offsetHeight];
    if (top < list.scrollTop) list.scrollTop = top;
    else if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
  }

  list.addEventListener("keydown", (event) => {
    const moves = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || !order.length) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(order.length - 1, order.indexOf(state.at) + moves[event.key]));
    choose(order[next]);
  });
  const set = (key, numeric) => (value) => { state[key] = numeric ? Number(value) : value; draw(); };
  const search = h("input", { type: "search", placeholder: "in any of the texts", input: () => { state.words = search.value; draw(); } });
  const writers = writerOptions(texts);
  draw();
  place.append(
    h("div", { class: "controls wide" },
      choice("Student", writers, state.student, set("student", true)),
      choice("Baseline", writers, state.baseline, set("baseline", true)),
      choice("Order", SORTS, state.sort, set("sort")),
      choice("Show", FILTERS, state.filter, set("filter")),
      choice("Mark what is not in", [["gold", "the gold text"], ["baseline", "the baseline’s"], ["teacher", "the teacher’s"], ["none", "nothing"]], state.against, set("against")),
      h("label", {}, "Words", search)),
    besides(texts, state, draw),
    told,
    h("div", { class: "browser" }, list, detail),
    h("p", { class: "soft small under" }, "Sentence BLEU against the gold text: ", h("span", { class: "code" }, texts.signature)),
  );
}

// The best student of the main score; as its baseline, the first other one, without a teacher if any.
function firstWriters(corpus) {
  const better = corpus.columns.find((column) => column.path === corpus.main);
  const value = (group) => (group.stats[corpus.main] || { mean: null }).mean;
  const students = corpus.groups.filter((group) => group.stage !== "teacher" && value(group) !== null);
  students.sort((a, b) => (better && better.better === "min" ? value(a) - value(b) : value(b) - value(a)));
  const writer = (group) => corpus.texts.writers.findIndex((each) => each.own.includes(group.runs[0]));
  const student = students.length ? writer(students[0]) : 0;
  const others = corpus.groups.filter((group) => group.stage !== "teacher" && group !== students[0]);
  const alone = others.find((group) => !("teacher" in data.runs[group.runs[0]].artifacts)) || others[0];
  const baseline = alone ? writer(alone) : corpus.texts.writers.findIndex((each) => each.teaches);
  return { student: Math.max(0, student), baseline: Math.max(0, baseline) };
}

function writerLabel(writer) {
  if (writer.own.length) return writer.own.map(runLabel).join(" = ");
  return `teacher ${writer.artifact}`;
}

function writerOptions(texts) {
  const numbered = texts.writers.map((writer, i) => [i, writerLabel(writer), writer.teaches]);
  const part = (label, teaches) => ({ label, options: numbered.filter((each) => each[2] === teaches) });
  return [part("Students", false), part("Teachers", true)].filter((group) => group.options.length);
}

function besides(texts, state, draw) {
  const summary = h("summary", {}, "More writers beside them");
  const boxes = texts.writers.map((writer, i) => tick(writerLabel(writer), false, (on) => {
    if (on) state.beside.add(i);
    else state.beside.delete(i);
    summary.textContent = state.beside.size ? `More writers beside them: ${state.beside.size}` : "More writers beside them";
    draw();
  }));
  return h("details", {}, summary, h("div", { class: "ticks" }, boxes));
}

function difference(texts, state, i) {
  return texts.writers[state.student].bleu[i] - texts.writers[state.baseline].bleu[i];
}

function chosenTexts(texts, state) {
  const [student, baseline] = [texts.writers[state.student], texts.writers[state.baseline]];
  const rules = {
    all: () => true,
    better: (i) => difference(texts, state, i) > 0,
    worse: (i) => difference(texts, state, i) < 0,
    other: (i) => student.texts[i] !== baseline.texts[i],
    same: (i) => student.texts[i] === baseline.texts[i],
  };
  const sought = state.words.toLowerCase().trim();
  const has = (i) => !sought || [texts.source, texts.gold, ...writersShown(texts, state).map((number) => texts.writers[number].texts)].some((each) => each[i].toLowerCase().includes(sought));
  const keys = {
    order: (i) => i,
    gain: (i) => -difference(texts, state, i),
    loss: (i) => difference(texts, state, i),
    best: (i) => -student.bleu[i],
    worst: (i) => student.bleu[i],
    long: (i) => -texts.source[i].length,
  };
  const key = keys[state.sort];
  return texts.chosen.map((_, i) => i).filter((i) => rules[state.filter](i) && has(i)).sort((a, b) => key(a) - key(b) || a - b);
}

function textsNote(texts, left) {
  const shown = texts.chosen.length;
  const sample = shown < texts.total ? ` of ${texts.total.toLocaleString("en-US")} in the test set, evenly spread: the others are left out of this page` : "";
  const kept = left < shown ? `${left} of ` : "";
  return `${kept}${count(shown, "text", "texts")}${sample}. Arrow keys go through the list.`;
}

function option(texts, state, i, choose) {
  const change = difference(texts, state, i);
  return h("div", { role: "option", id: `text${i}`, "aria-selected": "false", click: choose },
    h("span", {}, texts.source[i] || texts.gold[i]),
    h("span", { class: "number" }, state.student === state.baseline ? texts.writers[state.student].bleu[i].toFixed(1) : written(change, "+.1f")));
}

function teacherOf(texts, writer) {
  return texts.writers.findIndex((each) => each.teaches && each.taught.some((run) => writer.own.includes(run)));
}

// The student's teacher, the baseline, the student and those beside them, each once.
function writersShown(texts, state) {
  const teacher = teacherOf(texts, texts.writers[state.student]);
  return [...new Set([teacher, state.baseline, state.student, ...state.beside])].filter((number) => number >= 0);
}

function oneText(texts, state) {
  const i = state.at;
  const shown = writersShown(texts, state);
  const teacher = teacherOf(texts, texts.writers[state.student]);
  const references = { gold: texts.gold[i], baseline: texts.writers[state.baseline].texts[i], teacher: teacher < 0 ? null : texts.writers[teacher].texts[i], none: null };
  const against = references[state.against];
  const entry = (name, note, nodes) => [h("dt", {}, h("span", {}, broken(name)), h("span", { class: "number" }, note)), h("dd", {}, nodes)];
  const baseline = texts.writers[state.baseline].bleu[i];
  return h("dl", { class: "written" },
    entry("Source", `text ${(texts.chosen[i] + 1).toLocaleString("en-US")} of ${texts.total.toLocaleString("en-US")}`, texts.source[i] ? [texts.source[i]] : [h("span", { class: "soft" }, "none")]),
    entry("Gold", "", [texts.gold[i]]),
    shown.map((number) => {
      const writer = texts.writers[number];
      const role = number === state.student ? "Student: " : number === state.baseline ? "Baseline: " : number === teacher ? "Its teacher: " : "";
      const change = number === state.baseline ? "" : ` (${written(writer.bleu[i] - baseline, "+.1f")})`;
      return entry(role + writerLabel(writer), `BLEU ${writer.bleu[i].toFixed(1)}${change}`, writer.texts[i] ? marked(writer.texts[i], against) : [h("span", { class: "soft" }, "nothing")]);
    }));
}
