// Elements out of plain values. A text is always a text node, never markup.

const SVG = "http://www.w3.org/2000/svg";

function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function s(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

// A labelled select; `options` are [value, text] or {label, options} for a group of them.
function choice(label, options, value, changed) {
  const one = ([key, text]) => h("option", { value: key, selected: String(key) === String(value) }, text);
  const select = h(
    "select",
    { change: () => changed(select.value) },
    options.map((option) =>
      Array.isArray(option)
        ? one(option)
        : h("optgroup", { label: option.label }, option.options.map(one)),
    ),
  );
  return h("label", {}, label, select);
}

// A long name may break behind the signs that join its parts.
function broken(text) {
  return text.split(/(?<=[=,._/@])/).flatMap((part, i) => (i ? [h("wbr"), part] : [part]));
}

function code(text) {
  return h("span", { class: "code" }, broken(text));
}

function tick(text, checked, changed) {
  const box = h("input", { type: "checkbox", checked, change: () => changed(box.checked) });
  return h("label", { class: "tick" }, box, h("span", {}, broken(text)));
}

// A wide table scrolls by itself, also by keyboard, and the page does not.
function scrolled(label, table, kind = "") {
  return h("div", { class: `scroll ${kind}`, tabindex: 0, role: "region", "aria-label": label }, table);
}

function plainTable(heads, rows, wide = []) {
  const cell = (value, i) => {
    if (i === 0) return h("th", { scope: "row", class: "left" }, value);
    return h("td", { class: wide.includes(i) ? "left wrap" : null }, value);
  };
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, heads.map((head, i) =>
      h("th", { scope: "col", class: wide.includes(i) ? "left" : null }, head)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell)))),
  );
}

// The forms of Python that columns have: ".1f", ",.0f", ".1%", ".4g", a plus before the signed ones.
function written(value, form) {
  if (value === null || value === undefined) return "–";
  const [, plus, comma, digits, kind] = /^(\+?)(,?)\.(\d+)([fg%])$/.exec(form);
  let text;
  if (kind === "g") text = String(Number(value.toPrecision(Number(digits))));
  else {
    const shown = kind === "%" ? value * 100 : value;
    const options = { minimumFractionDigits: Number(digits), maximumFractionDigits: Number(digits), useGrouping: comma === "," };
    text = shown.toLocaleString("en-US", options) + (kind === "%" ? "%" : "");
  }
  if (/^-[0.,%]*$/.test(text)) text = text.slice(1);
  return (plus && value > 0 && /[1-9]/.test(text) ? "+" : "") + text.replace("-", "−");
}

// As many digits as tell the numbers of two seeds apart.
function exact(value) {
  if (value === null || value === undefined) return "not finite";
  return Number.isInteger(value) ? value.toLocaleString("en-US") : String(Number(value.toPrecision(6))).replace("-", "−");
}

function count(number, one, many) {
  return `${number.toLocaleString("en-US")} ${number === 1 ? one : many}`;
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
