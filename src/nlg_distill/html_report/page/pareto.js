// Quality against speed and against size, and which groups no other one beats in all three.

function showTradeoff(place, corpus) {
  const qualities = corpus.columns.filter((column) => column.better);
  const speeds = corpus.columns.filter((column) => column.speed && !column.path.startsWith("further_tests/"));
  const sizes = corpus.columns.filter((column) => ["parameters", "megabytes"].includes(column.path));
  if (!qualities.length || !sizes.length) {
    place.append(h("p", { class: "soft" }, "There is nothing to weigh: no size is known of these runs, or no score of which it is known what is better."));
    return;
  }
  const widest = speeds.find((column) => column.path.startsWith(`${corpus.beam}/`));
  const chosen = { quality: qualities.find((column) => column.path === corpus.main) || qualities[0], speed: widest || speeds[0] || null, size: sizes[0] };
  const charts = h("div", { class: "pair" });
  const note = h("p", { class: "soft small" });

  function draw() {
    const axes = [chosen.quality, chosen.speed, chosen.size].filter((column) => column);
    const points = corpus.groups
      .map((group, i) => ({ group, look: look(corpus.groups, i), at: (path) => (group.stats[path] || { mean: null }).mean }))
      .filter((point) => axes.every((column) => point.at(column.path) !== null));
    const best = notBeaten(points, axes);
    note.textContent = tradeoffNote(corpus, points, chosen);
    const panels = [];
    if (chosen.speed) panels.push(scatter(points, best, chosen, chosen.speed));
    panels.push(scatter(points, best, chosen, chosen.size));
    charts.replaceChildren(...panels);
  }

  const pick = (label, key, columns) => columns.length > 1
    ? choice(label, columns.map((column) => [column.path, column.head]), chosen[key].path, (value) => {
        chosen[key] = columns.find((column) => column.path === value);
        draw();
      })
    : null;
  draw();
  place.append(note, h("div", { class: "controls" }, pick("Quality", "quality", qualities), pick("Speed", "speed", speeds), pick("Size", "size", sizes)), charts);
}

function tradeoffNote(corpus, points, chosen) {
  const parts = [chosen.speed ? "Filled: no other group is at least as good in quality, speed and size and better in one." : "Filled: no other group is at least as good in quality and size and better in one. No texts are written, so there is no speed."];
  parts.push("A dotted line joins those that are unbeaten in the two of a chart; whiskers are ± one standard deviation.");
  if (chosen.quality.better === "min") parts.push("Lower is better, so the best are at the bottom.");
  const without = corpus.groups.length - points.length;
  if (without) parts.push(`Of ${count(without, "group", "groups")} not all is known.`);
  if (!points.some((point) => point.group.stage === "teacher")) parts.push("No run scored the teacher here: stage=teacher does.");
  return parts.join(" ");
}

// As a number of which more is better: sizes, and scores like perplexity, count against a group.
function gain(point, column) {
  const value = point.at(column.path);
  return column.better === "max" || column.speed ? value : -value;
}

function beats(a, b, columns) {
  return columns.every((column) => gain(a, column) >= gain(b, column)) && columns.some((column) => gain(a, column) > gain(b, column));
}

function notBeaten(points, columns) {
  return points.filter((point) => !points.some((other) => beats(other, point, columns)));
}

function scatter(points, best, chosen, along) {
  const quality = chosen.quality;
  const title = `${quality.head} by ${along.head}`;
  const deviation = (point) => point.group.stats[quality.path].sd || 0;
  const figure = plot((width) => {
    const x = scale(...extent(points.map((point) => point.at(along.path)), 0.08), MARGIN.left, width - MARGIN.right);
    const heights = points.flatMap((point) => [point.at(quality.path) - deviation(point), point.at(quality.path) + deviation(point)]);
    const y = scale(...extent(heights, 0.08), HEIGHT - MARGIN.bottom, MARGIN.top);
    const svg = s("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": title });
    axes(svg, width, x, y, { x: short, y: short }, along.head);
    const front = notBeaten(points, [quality, along]).sort((a, b) => a.at(along.path) - b.at(along.path));
    svg.append(s("path", { class: "front", d: path(front.map((point) => [point.at(along.path), point.at(quality.path)]), x, y) }));
    for (const point of points) svg.append(dot(point, best.includes(point), x(point.at(along.path)), y, deviation(point), chosen));
    names(svg, points, best, (point) => [x(point.at(along.path)), y(point.at(quality.path))], width);
    return svg;
  });
  return h("figure", {}, h("figcaption", { class: "small" }, title), figure);
}

function dot(point, unbeaten, x, y, deviation, chosen) {
  const height = y(point.at(chosen.quality.path));
  const teacher = point.group.stage === "teacher";
  const shape = teacher
    ? s("path", { class: `dot ${unbeaten ? "best" : ""}`, d: `M${x} ${height - 8}l8 8l-8 8l-8 -8z` })
    : s("circle", { class: `dot ${unbeaten ? "best" : ""}`, cx: x, cy: height, r: 5.5 });
  const rows = [chosen.quality, chosen.speed, chosen.size].filter((column) => column).map((column) => {
    const { mean, sd } = point.group.stats[column.path];
    return [column.head, written(mean, column.form) + (sd ? ` ± ${written(sd, column.form)}` : "")];
  });
  const label = `${point.group.label}${teacher ? " (teacher)" : ""}: ${rows.map((row) => row.join(" ")).join(", ")}${unbeaten ? ", unbeaten" : ""}`;
  const element = s("g", { class: `point ${point.look.colour}`, tabindex: 0, role: "img", "aria-label": label },
    deviation ? s("line", { class: "whisker", x1: x, x2: x, y1: y(point.at(chosen.quality.path) - deviation), y2: y(point.at(chosen.quality.path) + deviation) }) : null,
    shape);
  return tells(element, () => [h("div", {}, point.group.label), pairs(rows)]);
}

// Names of the teacher and the unbeaten, where there is room; the others are told on pointing.
function names(svg, points, best, at, width) {
  const taken = points.map((point) => {
    const [x, y] = at(point);
    return [x - 8, y - 8, x + 8, y + 8];
  });
  const first = points.filter((point) => best.includes(point) || point.group.stage === "teacher" || points.length <= 8);
  for (const point of first) {
    const [x, y] = at(point);
    const text = point.group.label.length > 34 ? `${point.group.label.slice(0, 33)}…` : point.group.label;
    const long = text.length * 6.6;
    const places = [[x + 12, y + 4, "start"], [x - 12, y + 4, "end"], [x, y - 14, "middle"], [x, y + 22, "middle"]];
    for (const [tx, ty, anchor] of places) {
      const left = anchor === "start" ? tx : anchor === "end" ? tx - long : tx - long / 2;
      const box = [left, ty - 11, left + long, ty + 4];
      const inside = box[0] >= MARGIN.left && box[2] <= width && box[1] >= 0 && box[3] <= HEIGHT - MARGIN.bottom;
      if (!inside || taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
      taken.push(box);
      svg.append(s("text", { class: "strong", x: tx, y: ty, "text-anchor": anchor, "aria-hidden": "true" }, text));
      break;
    }
  }
}
