// Everything on the page follows from the data block; a corpus is shown at a time.

const data = JSON.parse(document.getElementById("data").textContent);
const groupsByRun = new Map(data.corpora.flatMap((corpus) => corpus.groups.flatMap((group) => group.runs.map((run) => [run, group]))));

function groupOf(run) {
  return groupsByRun.get(run);
}

function runLabel(run) {
  return `${groupOf(run).label}, seed ${data.runs[run].seed}`;
}

function section(id) {
  const place = document.querySelector(`#${id} > div`);
  place.replaceChildren();
  return place;
}

function showCorpusSections(corpus) {
  showScores(section("scores"), corpus);
  showTradeoff(section("tradeoff"), corpus);
  showCurves(section("curves"), corpus);
  showTerms(section("terms"), corpus);
  showTexts(section("texts"), corpus);
  showCorpus(section("corpus"), corpus);
  showCost(section("cost"), corpus);
}

showHeader(document.getElementById("header"));
if (data.corpora.length > 1) {
  document.getElementById("header").append(h("div", { class: "controls" },
    choice("What is shown is of the corpus", data.corpora.map((corpus, i) => [i, `${corpus.name} (${count(corpus.groups.length, "group", "groups")})`]), 0,
      (value) => showCorpusSections(data.corpora[value]))));
}
showCorpusSections(data.corpora[0]);
showSettings(section("settings"));
showFooter(document.getElementById("footer"));
