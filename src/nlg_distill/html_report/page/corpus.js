// What was trained and scored on, and how clean it is.

function showCorpus(place, corpus) {
  const given = [corpus.attribution, corpus.licence ? `Licence: ${corpus.licence}` : null].filter((text) => text);
  place.append(h("p", {}, given.length ? `${given.join(". ")}.` : "The config gives no source and no licence of this corpus."));
  if (!corpus.hygiene) {
    place.append(h("p", { class: "soft" }, `The report on the corpus is not known: ${corpus.artifact} is no longer in the store.`));
    return;
  }
  const splits = ["train", "validation", "test"].filter((name) => corpus.hygiene[name]).map((name) => [name, corpus.hygiene[name]]);
  const further = Object.entries(corpus.further || {});
  place.append(
    scrolled("Splits", plainTable(
      ["Split", "pairs", "words per source (longest)", "words per target (longest)", "near-duplicates in train: sources", "targets", "pairs"],
      [...splits, ...further].map(([name, facts]) => [name, facts.pairs.toLocaleString("en-US"), lengths(facts.source), lengths(facts.target), ...near(facts)]),
    )),
    h("p", { class: "soft small" }, `Lines: ${cleaning(corpus.hygiene)}.`),
    ...further.map(([name, facts]) => h("p", { class: "soft small" }, `${name}: ${cleaning(facts)}.`)),
  );
  if (corpus.further === null) place.append(h("p", { class: "soft small" }, "The report on the further test sets is no longer in the store."));
}

function lengths(side) {
  return `${side.mean_words.toLocaleString("en-US")} (${side.longest_words.toLocaleString("en-US")})`;
}

function near(facts) {
  const found = facts.near_duplicates_in_train;
  return found ? ["source", "target", "pair"].map((side) => found[side].toLocaleString("en-US")) : ["", "", ""];
}

function cleaning(report) {
  return Object.entries(report.cleaning).map(([what, number]) => `${number.toLocaleString("en-US")} ${what}`).join(", ");
}
