// One box for what is told on hovering or focusing.

const tip = document.getElementById("tip");
let tipOf = null;

function showTip(content, x, y, owner = null) {
  tip.replaceChildren(...[content].flat());
  tip.hidden = false;
  tipOf = owner;
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(x + 14, innerWidth - width - 8));
  const below = y + 18 + height < innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = `${below ? y + 18 : Math.max(8, y - height - 12)}px`;
}

function hideTip() {
  tip.hidden = true;
  tipOf = null;
}

// Tells `content()` about an element while it is pointed at or has the focus.
function tells(element, content) {
  const atElement = () => {
    const box = element.getBoundingClientRect();
    showTip(content(), box.left, box.bottom - 12, element);
  };
  element.addEventListener("pointerenter", (event) => {
    if (event.pointerType !== "touch") showTip(content(), event.clientX, event.clientY, element);
  });
  element.addEventListener("pointerleave", hideTip);
  element.addEventListener("focus", atElement);
  element.addEventListener("blur", hideTip);
  element.setAttribute("aria-describedby", "tip");
  return element;
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
});
document.addEventListener("scroll", () => tipOf === document.activeElement || hideTip(), { passive: true });

function pairs(rows) {
  return h("div", { class: "pairs" }, rows.map(([name, value]) => [h("span", {}, name), h("span", {}, value)]));
}
