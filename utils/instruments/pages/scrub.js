// The hypothesis builder. Every claim is a number in base `features`, the first part its last digit.
const { parts, features } = DATA;
const shapes = document.querySelector("svg").namespaceURI;
const BASE = features.length;
const CLAIMS = BASE ** parts.length;
const triple = (list, k) => ({ value: list[3 * k] / 1000, low: list[3 * k + 1] / 1000, high: list[3 * k + 2] / 1000 });
const fixed = (value) => value.toFixed(3).replace("-", "−");

/** Makes an element of SVG, `svg("rect", {x: 1})`, with text or children. */
function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(shapes, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Number of a claim -> the feature of each part, 0 for none. */
const digits = (claim) => parts.map((_, k) => Math.floor(claim / BASE ** k) % BASE);
const numberOf = (chosen) => chosen.reduce((sum, digit, k) => sum + digit * BASE ** k, 0);
/** Which parts are named, as bits: nulls that do not hang on the features are kept by it. */
const named = (chosen) => chosen.reduce((sum, digit, k) => sum + (digit ? 1 << k : 0), 0);
const bitsOf = (chosen) => chosen.reduce((sum, digit) => sum + features[digit].bits, 0);

function found(claim) {
  const chosen = digits(claim);
  return {
    chosen,
    bits: bitsOf(chosen),
    recovered: triple(DATA.recovered, claim),
    random: triple(DATA.random, claim),
    label: triple(DATA.label, named(chosen)),
    exact: triple(DATA.exact, named(chosen)),
  };
}

function inWords(chosen) {
  const told = features.slice(1).map((feature, k) => {
    const who = parts.filter((_, part) => chosen[part] === k + 1);
    return who.length ? `${who.join(", ")}: ${feature.name}` : "";
  });
  return told.filter(Boolean).join("; ") || "nothing claimed";
}

let claim = 0;
const tried = [];
const every = Array.from({ length: CLAIMS }, (_, k) => ({
  bits: bitsOf(digits(k)), value: DATA.recovered[3 * k] / 1000, random: DATA.random[3 * k] / 1000,
}));

// --- choices ---------------------------------------------------------------------------------

for (const feature of features) $("choices").tHead.rows[0].append(element("th", { scope: "col" }, feature.name));
parts.forEach((part, row) => {
  const line = element("tr", { role: "radiogroup", "aria-label": part }, element("th", { scope: "row" }, part));
  features.forEach((feature, k) => {
    const name = k ? `${part} tells ${feature.name}` : `${part}: nothing claimed`;
    const id = `choice-${row}-${k}`;
    const radio = element("input", { type: "radio", name: `part-${row}`, value: k, id, "aria-label": name });
    radio.addEventListener("change", () => {
      const chosen = digits(claim);
      chosen[row] = k;
      $("preset").value = "";
      show(numberOf(chosen));
    });
    line.append(element("td", {}, element("label", {}, radio)));
  });
  $("choices").tBodies[0].append(line);
});
DATA.presets.forEach((one, k) => $("preset").append(element("option", { value: k }, one.name)));
$("preset").append(element("option", { value: "", hidden: "" }, "your own"));
$("preset").addEventListener("change", (event) => show(DATA.presets[Number(event.target.value)].claim));

// --- pictures --------------------------------------------------------------------------------

/** Pictures are drawn as wide as there is room, so that their text keeps its size. */
const room = (picture) => Math.max(290, Math.round(picture.parentElement.clientWidth));

function drawTree(chosen) {
  const tree = $("tree");
  const [wide, high, low] = [room(tree), 178, 132];
  const gap = wide / parts.length;
  const box = Math.min(104, gap - 6);
  const [output, mlp] = [0.72 * wide, 0.26 * wide];
  tree.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  tree.replaceChildren();
  const node = (x, y, size, name, told, on) => {
    tree.append(
      svg("g", on ? {} : { class: "off" },
        svg("rect", { x: x - size / 2, y, width: size, height: 40, rx: 6, class: on ? "on" : "" }),
        svg("text", { x, y: y + 17, "text-anchor": "middle" }, name),
        svg("text", { x, y: y + 33, "text-anchor": "middle", class: "faint" }, told)),
    );
  };
  const line = (x, y, toX, toY) => {
    const middle = (y + toY) / 2;
    tree.append(svg("path", { d: `M${x} ${y} C${x} ${middle} ${toX} ${middle} ${toX} ${toY}` }));
  };
  const any = chosen.some(Boolean);
  chosen.forEach((digit, k) => {
    if (!digit) return;
    line((k + 0.5) * gap, low, mlp, 108);
    line((k + 0.5) * gap, low, output, 44);
  });
  if (any) line(mlp, 68, output, 44);
  node(output, 4, 116, "output", "is it balanced?", true);
  node(mlp, 68, 116, "m2", any ? "reads the parts" : "free", any);
  chosen.forEach((digit, k) => node((k + 0.5) * gap, low, box, parts[k], digit ? features[digit].name : "free", Boolean(digit)));
}

const LINES = [
  ["recovered", "your claim", "blue", "your claim"],
  ["random", "null: random classes of the same sizes", "orange", "random classes"],
  ["label", "null: the label in every named part", "vermilion", "label only"],
  ["exact", "ceiling: named parts exact", "green", "parts exact"],
];

function drawChart(it) {
  const chart = $("chart");
  const [wide, high] = [room(chart), 224];
  const [left, right] = [4, wide - 4];
  chart.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  chart.replaceChildren();
  const x = (value) => left + (right - left) * (Math.max(-0.1, Math.min(1.1, value)) + 0.1) / 1.2;
  for (const mark of [0, 0.25, 0.5, 0.75, 1]) {
    chart.append(svg("path", { class: "axis", d: `M${x(mark)} 6 V${high - 34}` }));
    chart.append(svg("text", { x: x(mark), y: high - 20, "text-anchor": "middle", class: "faint" }, mark));
  }
  chart.append(svg("text", { x: left, y: high - 5, class: "faint" }, "a random other output"));
  chart.append(svg("text", { x: right, y: high - 5, "text-anchor": "end", class: "faint" }, "the network itself"));
  LINES.forEach(([key, , tone, name], row) => {
    const [y, one, pen] = [36 + row * 45, it[key], `var(--${tone})`];
    const near = x(one.value) > wide / 2;
    chart.append(
      svg("path", { d: `M${x(0)} ${y} H${x(one.value)}`, style: `stroke: ${pen}; stroke-width: 4; opacity: 0.35` }),
      svg("path", { d: `M${x(one.low)} ${y - 7} V${y + 7} M${x(one.high)} ${y - 7} V${y + 7} M${x(one.low)} ${y} H${x(one.high)}`, style: `stroke: ${pen}; stroke-width: 2` }),
      row === 0 ? svg("circle", { cx: x(one.value), cy: y, r: 7, style: `fill: ${pen}` })
        : row === 3 ? svg("rect", { x: x(one.value) - 5, y: y - 5, width: 10, height: 10, style: `fill: ${pen}` })
          : svg("path", { d: `M${x(one.value)} ${y - 7} L${x(one.value) + 7} ${y + 5} H${x(one.value) - 7} Z`, style: `fill: ${row === 1 ? "var(--ground)" : pen}; stroke: ${pen}; stroke-width: 2` }),
      svg("text", { x: near ? x(one.value) + 6 : x(one.value) - 6, y: y - 12, "text-anchor": near ? "end" : "start" }, `${name} ${one.value.toFixed(2)}`),
    );
  });
}

const MOST_BITS = Math.max(...every.map((one) => one.bits));
const CLOUD = { wide: 1000, high: 300, left: 46, bottom: 40 };
const cloudX = (bits) => CLOUD.left + 8 + ((CLOUD.wide - CLOUD.left - 20) * bits) / MOST_BITS;
const cloudY = (value) => 8 + (CLOUD.high - CLOUD.bottom - 16) * (1 - Math.max(0, Math.min(1, value)));

function drawCloud() {
  CLOUD.wide = room($("cloud"));
  const pen = sharp($("cloud"), CLOUD.wide, CLOUD.high);
  const [blue, text, line, vermilion, ground] = ["blue", "text", "line", "vermilion", "ground"].map(colour);
  pen.fillStyle = ground;
  pen.fillRect(0, 0, CLOUD.wide, CLOUD.high);
  pen.font = "13px system-ui, sans-serif";
  for (const mark of [0, 0.25, 0.5, 0.75, 1]) {
    pen.fillStyle = line;
    pen.fillRect(CLOUD.left, cloudY(mark), CLOUD.wide, 1);
    pen.fillStyle = text;
    pen.textAlign = "right";
    pen.fillText(mark.toFixed(2), CLOUD.left - 8, cloudY(mark) + 4);
  }
  pen.textAlign = "center";
  for (let mark = 0; mark <= MOST_BITS; mark += 1) pen.fillText(mark, cloudX(mark), CLOUD.high - 22);
  pen.fillText("bits that the features of the named parts hold", CLOUD.wide / 2, CLOUD.high - 5);
  pen.fillStyle = blue;
  pen.globalAlpha = 0.3;
  every.forEach((one, k) => {
    pen.beginPath();
    pen.arc(cloudX(one.bits), cloudY(one.value), k === claim ? 0 : 3, 0, 7);
    pen.fill();
  });
  pen.globalAlpha = 1;
  const mine = every[claim];
  pen.beginPath();
  pen.arc(cloudX(mine.bits), cloudY(mine.value), 8, 0, 7);
  pen.fillStyle = vermilion;
  pen.fill();
  pen.strokeStyle = ground;
  pen.lineWidth = 2;
  pen.stroke();
}

$("cloud").addEventListener("click", (event) => {
  const box = $("cloud").getBoundingClientRect();
  const [x, y] = [((event.clientX - box.left) / box.width) * CLOUD.wide, ((event.clientY - box.top) / box.height) * CLOUD.high];
  const far = every.map((one) => Math.hypot(cloudX(one.bits) - x, cloudY(one.value) - y));
  const nearest = far.indexOf(Math.min(...far));
  if (far[nearest] > 25) return;
  $("preset").value = "";
  show(nearest);
});

// --- all of it -------------------------------------------------------------------------------

function verdict(it) {
  if (!it.bits) return "Nothing is claimed, so all of it comes from a random string, and what is recovered is chance.";
  if (it.recovered.low <= it.random.high) return "That is no more than random classes of the same sizes recover: the features are not what these parts tell.";
  if (it.recovered.high >= it.exact.low) return "That is as much as with the named parts left exact: in these parts nothing is missing. It may still be said with fewer bits.";
  const way = (it.recovered.value - it.random.value) / (it.exact.value - it.random.value);
  return `That is ${percent(way, 0)} of the way from random classes to the ceiling: the features say part of what these parts tell.`;
}

function rank(it) {
  const better = every.filter((one) => one.value > it.recovered.value + 5e-4).length;
  const cheaper = every.filter((one) => one.value > it.recovered.value + 5e-4 && one.bits <= it.bits + 1e-9).length;
  return `Yours is the large dot: ${it.bits.toFixed(1)} bits, ${fixed(it.recovered.value)} recovered. Of ${count(CLAIMS)} claims ${count(better)} recover more, ${count(cheaper)} of them with as many bits or fewer. Click a dot to take its claim. Mind that the best of so many is partly luck.`;
}

function drawAll() {
  const it = found(claim);
  drawTree(it.chosen);
  drawChart(it);
  drawCloud();
}

function show(number) {
  claim = number;
  const it = found(claim);
  it.chosen.forEach((digit, row) => ($(`choice-${row}-${digit}`).checked = true));
  drawAll();
  fillRows($("numbers"), LINES.map(([key, name]) => [name, fixed(it[key].value), `${fixed(it[key].low)} to ${fixed(it[key].high)}`]), 0);
  const words = inWords(it.chosen);
  $("claim-text").textContent = `${words}. ${fixed(it.recovered.value)} of the loss recovered. ${verdict(it)}`;
  $("rank").textContent = rank(it);
  const line = [words, it.bits.toFixed(1), fixed(it.recovered.value), fixed(it.random.value), fixed(it.exact.value)];
  const before = tried.findIndex((one) => one[0] === words);
  if (before >= 0) tried.splice(before, 1);
  tried.unshift(line);
  tried.splice(8);
  fillRows($("tried"), tried, 0);
  announce($("claim-text").textContent);
}

whenThemeChanges(drawCloud);
let drawn = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === drawn) return;
  drawn = innerWidth;
  drawAll();
});
show(DATA.presets[0].claim);
