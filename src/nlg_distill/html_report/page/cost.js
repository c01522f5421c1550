// What it took to make the runs.

const STAGES = [
  ["teacher", "training of teachers"],
  ["teacher_text", "teachers’ texts"],
  ["teacher_signal", "teachers’ stored signals"],
  ["student", "training of students"],
  ["scores", "scoring"],
  ["corpus", "corpora"],
  ["tokenizer", "tokenizers"],
  ["further_tests", "further test sets"],
];

function showCost(place, corpus) {
  const runs = corpus.groups.flatMap((group) => group.runs).map((run) => data.runs[run]);
  const missing = new Set(runs.flatMap((run) => run.cost.missing));
  const parts = new Map(runs.flatMap((run) => Object.entries(run.cost.parts)));
  const stages = STAGES.filter(([stage]) => [...parts.keys()].some((name) => name.startsWith(`${stage}/`)));
  const total = (stage) => [...parts].filter(([name]) => name.startsWith(`${stage}/`));
  if (parts.size) {
    place.append(
      h("p", {}, `All that these ${count(runs.length, "run was", "runs were")} made from took ${duration([...parts.values()].reduce((sum, seconds) => sum + seconds, 0))}, each artifact counted once.`),
      scrolled("Cost by stage", plainTable(["Stage", "artifacts", "time", "seconds"], stages.map(([stage, name]) => {
        const seconds = total(stage).reduce((sum, [, each]) => sum + each, 0);
        return [name, String(total(stage).length), duration(seconds), written(seconds, ",.0f")];
      }))),
    );
  }
  if (missing.size) place.append(h("p", { class: "soft" }, `${count(missing.size, "artifact is", "artifacts are")} no longer in the store, and what ${missing.size === 1 ? "it" : "they"} took is not known.`));
  place.append(
    h("h3", {}, "By group"),
    scrolled("Cost by group", groupCosts(corpus), "tall"),
    h("p", { class: "soft small" }, "Seconds by the clock on a machine that other work may have shared. A student’s training includes that of the student it starts from; what its teachers took is beside it, and is shared by all students of the same teacher."),
  );
}

function groupCosts(corpus) {
  const seconds = (found) => (found && found.mean !== null ? written(found.mean, ",.0f") + (found.sd ? ` ± ${written(found.sd, ",.0f")}` : "") : "not known");
  const kinds = ["teacher", "teacher_text", "teacher_signal"].filter((stage) => corpus.groups.some((group) => partOf(group, stage) > 0));
  const heads = { teacher: "s of teachers", teacher_text: "s of teachers’ texts", teacher_signal: "s of stored signals" };
  return plainTable(
    ["Group", "runs", "s trained", ...kinds.map((stage) => heads[stage])],
    corpus.groups.map((group) => [
      broken(group.label),
      String(group.runs.length),
      seconds(group.stats.total_training_seconds),
      ...kinds.map((stage) => (group.stage === "teacher" ? "" : partOf(group, stage) ? written(partOf(group, stage), ",.0f") : "–")),
    ]),
  );
}

function partOf(group, stage) {
  const parts = new Map(group.runs.flatMap((run) => Object.entries(data.runs[run].cost.parts)));
  return [...parts].filter(([name]) => name.startsWith(`${stage}/`)).reduce((sum, [, each]) => sum + each, 0);
}

function duration(seconds) {
  if (seconds < 100) return `${written(seconds, ".0f")} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
