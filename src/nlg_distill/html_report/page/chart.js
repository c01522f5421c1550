// Charts of lines, drawn at the width that there is and drawn again when it changes.

const MARGIN = { left: 52, right: 14, top: 10, bottom: 34 };
const HEIGHT = 272;

function plot(draw) {
  const place = h("div", { class: "plot" });
  let width = 0;
  new ResizeObserver(() => {
    if (place.clientWidth !== width && place.clientWidth > 0) {
      width = place.clientWidth;
      place.replaceChildren(draw(width));
    }
  }).observe(place);
  return place;
}

// Round numbers that span [low, high] in about `count` steps.
function ticks(low, high, count) {
  const raw = (high - low || Math.abs(high) || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw) * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    found.push(Number((i * step).toPrecision(10)));
  }
  return found;
}

function scale(low, high, from, to) {
  const span = high - low || 1;
  const to_pixels = (value) => from + ((value - low) / span) * (to - from);
  return Object.assign(to_pixels, { low, high });
}

function extent(values, padding) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const room = (high - low || Math.abs(high) || 1) * padding;
  return [low - room, high + room];
}

function axes(svg, width, x, y, forms, title) {
  const bottom = HEIGHT - MARGIN.bottom;
  for (const value of ticks(y.low, y.high, 5)) {
    svg.append(
      s("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      s("text", { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, forms.y(value)),
    );
  }
  for (const value of ticks(x.low, x.high, Math.max(3, Math.floor(width / 110)))) {
    svg.append(s("text", { x: x(value), y: bottom + 18, "text-anchor": "middle" }, forms.x(value)));
  }
  svg.append(s("text", { x: width - MARGIN.right, y: HEIGHT - 1, "text-anchor": "end" }, title));
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  return String(Number(value.toPrecision(4))).replace("-", "−");
}

// `lines`: {points: [[step, value or null]], colour, dash, name}; `range` of y if it is given.
function lineChart({ lines, title, range = null }) {
  const all = lines.flatMap((line) => line.points.filter((point) => point[1] !== null));
  if (!all.length) return h("p", { class: "soft" }, "Nothing to draw: all lines are hidden, or this was not logged.");
  return plot((width) => {
    const x = scale(...extent(all.map((point) => point[0]), 0), MARGIN.left, width - MARGIN.right);
    const y = scale(...(range || extent(all.map((point) => point[1]), 0.04)), HEIGHT - MARGIN.bottom, MARGIN.top);
    const svg = s("svg", {
      width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", tabindex: 0,
      "aria-label": `${title}, ${count(lines.length, "line", "lines")} by step. Left and right go along a line, up and down to another.`,
    });
    axes(svg, width, x, y, { x: short, y: short }, "step");
    const paths = lines.map((line) => s("path", { class: `curve ${line.colour} dash${line.dash}`, d: path(line.points, x, y) }));
    svg.append(...paths);
    followed(svg, lines, paths, x, y);
    return svg;
  });
}

function path(points, x, y) {
  let text = "", pen = "M", drawn = 0;
  for (const [step, value] of points) {
    if (value === null) { pen = "M"; continue; }
    text += `${pen}${x(step).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
    drawn++;
  }
  return drawn === 1 ? `${text}h.01` : text;
}

// Pointer and arrow keys choose one point of one line; it is told in the box.
function followed(svg, lines, paths, x, y) {
  const marker = s("circle", { class: "marker", r: 4.5, visibility: "hidden" });
  svg.append(marker);
  let at = [0, 0];

  function choose(line, point, quiet) {
    const [step, value] = lines[line].points[point];
    if (value === null) return;
    at = [line, point];
    svg.classList.add("chosen");
    paths.forEach((each, i) => each.classList.toggle("on", i === line));
    marker.setAttribute("class", `marker ${lines[line].colour}`);
    marker.setAttribute("cx", x(step));
    marker.setAttribute("cy", y(value));
    marker.setAttribute("visibility", "visible");
    const box = svg.getBoundingClientRect();
    const text = `${lines[line].name}: ${exact(value)} at step ${step.toLocaleString("en-US")}`;
    showTip(h("div", {}, text), box.left + x(step), box.top + y(value), svg);
    if (!quiet) document.getElementById("said").textContent = text;
  }

  function leave() {
    svg.classList.remove("chosen");
    marker.setAttribute("visibility", "hidden");
    hideTip();
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = 40 ** 2, found = null;
    lines.forEach((line, i) => line.points.forEach(([step, value], j) => {
      if (value === null) return;
      const distance = (x(step) - px) ** 2 + (y(value) - py) ** 2;
      if (distance < best) [best, found] = [distance, [i, j]];
    }));
    if (found) choose(...found, true);
    else leave();
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("focus", () => svg.matches(":focus-visible") && choose(...at, false));
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const line = (at[0] + move[0] + lines.length) % lines.length;
    const last = lines[line].points.length - 1;
    choose(line, Math.max(0, Math.min(last, at[1] + move[1])), false);
  });
}

// A group's colour and dash: eight colours, and again with dashes. Teachers are drawn in ink.
function look(groups, number) {
  if (groups[number].stage === "teacher") return { colour: "ink", dash: groups.slice(0, number).length % 3 };
  const place = number - groups.filter((group) => group.stage === "teacher").length;
  return { colour: `c${place % 8}`, dash: Math.floor(place / 8) % 3 };
}

function swatch({ colour, dash }) {
  return s("svg", { width: 26, height: 10, "aria-hidden": "true" },
    s("path", { class: `curve ${colour} dash${dash}`, d: "M1 5h24", "stroke-width": 2.4 }));
}
