// Each term of the loss, and its share of the gradient.

function showTerms(place, corpus) {
  const groups = corpus.groups.filter((group) => group.runs.some((run) => termsOf(data.runs[run]).length));
  if (!groups.length) {
    place.append(h("p", { class: "soft" }, "No terms are known of these runs, since no curves are."));
    return;
  }
  const several = groups.filter((group) => group.runs.some((run) => termsOf(data.runs[run]).length > 1));
  const charts = [h("div"), h("div")];
  const names = h("ul", { class: "legend" });
  const offered = [...several, ...groups.filter((group) => !several.includes(group))];

  function draw(group) {
    const terms = [...new Set(group.runs.flatMap((run) => termsOf(data.runs[run])))];
    const lines = (prefix) => group.runs.flatMap((run) => terms.map((term, i) => ({
      points: pointsOf(data.runs[run], prefix + term), colour: `c${i % 8}`, dash: 0, name: `${term}, seed ${data.runs[run].seed}`,
    }))).filter((line) => line.points.length);
    names.replaceChildren(...terms.map((term, i) => h("li", {}, h("span", { class: "small" }, swatch({ colour: `c${i % 8}`, dash: 0 }), ` ${term}`))));
    charts[0].replaceChildren(lineChart({ lines: lines("train/"), title: "Loss of each term" }));
    const shares = lines("train/gradient_share/");
    charts[1].replaceChildren(
      shares.length
        ? lineChart({ lines: shares, title: "Share of the gradient", range: [0, 1] })
        : h("p", { class: "soft" }, "One term alone is the whole gradient."),
    );
  }

  draw(offered[0]);
  place.append(
    h("p", { class: "soft small" }, "A term’s value is weighted, per token that it counts. Shares are of the sum of the terms’ gradient norms."),
    h("div", { class: "controls wide" }, choice("Group", offered.map((group, i) => [i, group.label]), 0, (value) => draw(offered[value]))),
    names,
    h("div", { class: "pair" },
      h("figure", {}, h("figcaption", { class: "small" }, "Loss of each term, by step"), charts[0]),
      h("figure", {}, h("figcaption", { class: "small" }, "Share of the gradient, by step"), charts[1])),
  );
  if (several.length) place.append(h("h3", {}, "Mean share of the gradient"), scrolled("Mean shares", sharesTable(several)));
}

function termsOf(run) {
  return run.terms.filter((term) => `train/${term}` in run.series);
}

function sharesTable(groups) {
  const rows = groups.map((group) => {
    const shares = meanShares(group);
    return [
      broken(group.label),
      [
        h("div", { class: "bar", "aria-hidden": "true" }, shares.map(([, share], i) => {
          const part = h("span", { class: `c${i % 8}` });
          part.style.width = `${share * 100}%`;
          return part;
        })),
        h("div", { class: "small" }, shares.map(([term, share]) => `${term} ${written(share, ".0%")}`).join(", ")),
      ],
    ];
  });
  return plainTable(["Group", "over all logged steps and seeds"], rows, [1]);
}

function meanShares(group) {
  const terms = [...new Set(group.runs.flatMap((run) => termsOf(data.runs[run])))];
  return terms.flatMap((term) => {
    const values = group.runs.flatMap((run) => pointsOf(data.runs[run], `train/gradient_share/${term}`)).map((point) => point[1]).filter((value) => value !== null);
    return values.length ? [[term, mean(values)]] : [];
  });
}
