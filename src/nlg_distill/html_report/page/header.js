// What was run, when, at which commits and where.

function showHeader(place) {
  const runs = data.runs;
  const groups = data.corpora.reduce((sum, corpus) => sum + corpus.groups.length, 0);
  const different = (of) => [...new Set(runs.map(of))];
  const facts = [
    ["Runs", `${count(runs.length, "run", "runs")} in ${count(groups, "group", "groups")}`],
    ["Made", madeWhen(runs.map((run) => run.made))],
    ["Commits", different((run) => run.commit).map((commit) => shortCommit(commit)).join(", ")],
    ["Machine", different((run) => run.machine).join("; ")],
    ["Versions", different((run) => `PyTorch ${run.packages.torch}, Lightning ${run.packages.lightning}`).join("; ")],
    [data.corpora.length === 1 ? "Corpus" : "Corpora", data.corpora.map((corpus) => corpus.name).join(", ")],
  ];
  place.append(h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
  if (data.copies) {
    place.append(h("p", { class: "soft small" },
      `${count(data.copies, "run folder is", "run folders are")} left out: ${data.copies === 1 ? "it found" : "they found"} in the store what another run had made.`));
  }
}

function madeWhen(times) {
  const known = times.filter((time) => time !== null).sort();
  if (!known.length) return "not known: the scores are no longer in the store";
  const [first, last] = [known[0], known[known.length - 1]].map((time) => time.slice(0, 16).replace("T", " "));
  const text = first === last ? first : first.slice(0, 10) === last.slice(0, 10) ? `${first} to ${last.slice(11)}` : `${first} to ${last}`;
  const unknown = times.length - known.length;
  return `${text} UTC${unknown ? `; of ${unknown} not known` : ""}`;
}

function shortCommit(commit) {
  if (commit === null) return "no repository";
  return commit.slice(0, 8) + (commit.endsWith("-dirty") ? " with changes" : "");
}

function showFooter(place) {
  place.append(
    h("p", {}, `Written by nlg-distill ${data.version}, ${data.written.slice(0, 16).replace("T", " ")} UTC, with nlg-distill report. This page loads nothing.`),
  );
}
