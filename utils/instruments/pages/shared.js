// What all instruments share: their data, colours that follow the theme, numbers as text, and a
// word to the page around them about how tall they are.
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const redraws = [];

document.documentElement.classList.add("scripted");
for (const twin of document.querySelectorAll("details.twin")) twin.open = false;

/** The colour of a CSS variable as the browser shows it now: custom properties stay unresolved. */
function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function whenThemeChanges(redraw) {
  redraws.push(redraw);
}

const themed = () => redraws.forEach((redraw) => redraw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);
addEventListener("message", (event) => {
  if (event.source !== parent || !["light", "dark"].includes(event.data?.theme)) return;
  document.documentElement.dataset.theme = event.data.theme;
  themed();
});
if (parent !== window) {
  const tell = () => {
    const height = Math.ceil(document.querySelector("main").getBoundingClientRect().height);
    parent.postMessage({ instrument: document.body.dataset.instrument, height }, "*");
  };
  new ResizeObserver(tell).observe(document.querySelector("main"));
  addEventListener("load", tell);
}

const percent = (share, digits = 1) =>
  Number.isFinite(share) ? `${(100 * share).toFixed(digits)} %` : "none";

const count = (number) => number.toLocaleString("en-US");

/** A canvas as sharp as the screen; draw in units of its `width` and `height`. */
function sharp(canvas, width, height) {
  const ratio = Math.max(1, Math.min(3, devicePixelRatio || 1));
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

/** Makes an element of HTML with text or children. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Fills a table's body: rows of texts, the first a row header; `mine` marks a row. */
function fillRows(body, rows, mine = -1) {
  body.replaceChildren(
    ...rows.map((cells, at) => {
      const row = element("tr", at === mine ? { class: "mine" } : {});
      cells.forEach((cell, k) => row.append(element(k ? "td" : "th", k ? {} : { scope: "row" }, cell)));
      return row;
    }),
  );
}

let saying;
/** Tells a screen reader, once things have come to rest. */
function announce(text) {
  clearTimeout(saying);
  saying = setTimeout(() => ($("live").textContent = text), 300);
}
