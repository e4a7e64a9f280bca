// The grid explorer.
const SIZE = DATA.size;
const STEP = 5; // canvas units a cell
const labels = cellsOf(DATA.labels);
const answers = cellsOf(DATA.answers);
const seen = cellsOf(DATA.seen);
const margins = Int8Array.from(atob(DATA.margins), (letter) => (letter.charCodeAt(0) << 24) >> 24);
const held = seen.map((value) => 1 - value);
const gaps = gapsOf(labels, seen, SIZE);
const layers = { nearest: nearestOf(labels, seen, SIZE) };
if (DATA.mine) {
  layers.mine = cellsOf(DATA.mine);
  $("has-mine").append(", and ", element("code", {}, "mine"), ", the labels you gave in the notebook");
}
const setting = { answers, seen, size: SIZE, layers };
const all = new Uint8Array(labels.length).fill(1);
const most = (cells) => +(2 * cells.reduce((x, y) => x + y, 0) > cells.length);
const rivals = [
  ["the network", answers],
  ["nearest training pair", layers.nearest],
  ["each row's majority", hypothesis("1", true, setting).cells],
  [`one label for all: ${most(answers)}`, all.map(() => most(answers))],
];
let own = { cells: all, bits: 0 };
let view = "labels";
let [from, to] = [null, null]; // corners of the brush, {a, b}; one cell where they are equal
let shown = { a: 0, b: 0 }; // where the pointer is

const plane = $("plane");
const at = ({ a, b }) => a * SIZE + b;

// --- the plane -------------------------------------------------------------------------------

const LEGENDS = {
  labels: [["one", "label 1"], ["zero", "label 0"]],
  network: [["one", "the network says 1"], ["zero", "it says 0"]],
  errors: [["vermilion", "the network errs"], ["one", "label 1"], ["zero", "label 0"]],
  sure: [["blue", "says 1, the deeper the surer"], ["orange", "says 0"]],
  gaps: [["blue", "in a gap, network right"], ["vermilion", "in a gap, network wrong"]],
  own: [["one", "the hypothesis says 1"], ["zero", "it says 0"]],
  against: [["vermilion", "hypothesis and network differ"], ["one", "network 1"], ["zero", "network 0"]],
};

function paintOf(cell, pens) {
  const plain = (grid) => (grid[cell] ? pens.one : pens.zero);
  if (view === "labels") return plain(labels);
  if (view === "network") return plain(answers);
  if (view === "own") return plain(own.cells);
  if (view === "errors") return answers[cell] === labels[cell] ? plain(labels) : pens.vermilion;
  if (view === "against") return answers[cell] === own.cells[cell] ? plain(answers) : pens.vermilion;
  if (view === "gaps") {
    if (!gaps[cell]) return labels[cell] ? pens.faint : pens.zero;
    return answers[cell] === labels[cell] ? pens.blue : pens.vermilion;
  }
  return margins[cell] > 0 ? pens.blue : pens.orange;
}

function drawPlane() {
  const pen = sharp(plane, SIZE * STEP, SIZE * STEP);
  const pens = Object.fromEntries(
    ["zero", "one", "vermilion", "blue", "orange", "line", "panel"].map((name) => [name, colour(name)]),
  );
  pens.faint = pens.panel;
  pen.fillStyle = pens.zero;
  pen.fillRect(0, 0, SIZE * STEP, SIZE * STEP);
  for (let cell = 0; cell < labels.length; cell += 1) {
    if ($("held").checked && seen[cell]) continue;
    pen.globalAlpha = view === "sure" ? Math.min(1, 0.08 + Math.abs(margins[cell]) / 80) : 1;
    pen.fillStyle = paintOf(cell, pens);
    pen.fillRect((cell % SIZE) * STEP, Math.floor(cell / SIZE) * STEP, STEP, STEP);
  }
  pen.globalAlpha = 1;
  if (from) {
    const box = brushed();
    pen.strokeStyle = colour("vermilion");
    pen.lineWidth = 1;
    pen.strokeRect(0.5, box.top * STEP - 0.5, SIZE * STEP - 1, (box.bottom - box.top + 1) * STEP + 1);
    pen.strokeRect(box.left * STEP - 0.5, 0.5, (box.right - box.left + 1) * STEP + 1, SIZE * STEP - 1);
    pen.lineWidth = 3;
    pen.strokeStyle = colour("text");
    pen.strokeRect(box.left * STEP - 1, box.top * STEP - 1, (box.right - box.left + 1) * STEP + 2, (box.bottom - box.top + 1) * STEP + 2);
  }
  $("legend").replaceChildren(
    ...LEGENDS[view].flatMap(([name, text]) => {
      const swatch = element("span", { class: "swatch" });
      swatch.style.background = colour(name);
      return [swatch, text];
    }),
  );
}

function describe(place) {
  const cell = at(place);
  const margin = (margins[cell] / 10).toFixed(1).replace("-", "−");
  return `a ${place.a}, b ${place.b}: label ${labels[cell]}, network ${answers[cell]} (logit difference ${margin}), hypothesis ${own.cells[cell]}; ${seen[cell] ? "training pair" : "held-out pair"}${gaps[cell] ? ", in a gap" : ""}`;
}

// --- row, column, brush ----------------------------------------------------------------------

function brushed() {
  return {
    top: Math.min(from.a, to.a), bottom: Math.max(from.a, to.a),
    left: Math.min(from.b, to.b), right: Math.max(from.b, to.b),
  };
}

/** The cells of the line through `to`: along its row, or down its column. */
const lineOf = (along) =>
  Array.from({ length: SIZE }, (_, k) => (along ? to.a * SIZE + k : k * SIZE + to.b));

function changesIn(grid, cells) {
  const places = cells.map((cell, k) => (k && grid[cell] !== grid[cells[k - 1]] ? k : 0)).filter(Boolean);
  if (!places.length) return "nowhere";
  return places.length > 6 ? `at ${places.length} places` : `at ${places.join(", ")}`;
}

function drawLine(name, along) {
  const cells = lineOf(along);
  const bands = [["labels", labels], ["network", answers], ["hypothesis", own.cells]];
  const [high, wide] = [13, SIZE * STEP];
  const pen = sharp($(name), wide, bands.length * high + 6);
  pen.fillStyle = colour("ground");
  pen.fillRect(0, 0, wide, bands.length * high + 6);
  bands.forEach(([, grid], row) => {
    cells.forEach((cell, k) => {
      const differs = row && grid[cell] !== labels[cell];
      pen.fillStyle = colourCache[differs ? "vermilion" : grid[cell] ? "one" : "zero"];
      pen.fillRect(k * STEP, row * high, STEP, high - 2);
    });
  });
  pen.fillStyle = colourCache.text;
  cells.forEach((cell, k) => {
    if (seen[cell]) pen.fillRect(k * STEP + 1, bands.length * high + 1, STEP - 2, 4);
  });
  const where = along ? `Row a = ${to.a}` : `Column b = ${to.b}`;
  const changes = bands.map(([who, grid]) => `${who} ${changesIn(grid, cells)}`).join("; ");
  $(`${name}-text`).textContent = `${where} changes: ${changes}.`;
}
let colourCache = {};

function countBrush() {
  if (from.a === to.a && from.b === to.b) return `Pair ${describe(to)}.`;
  const box = brushed();
  const inside = new Uint8Array(labels.length);
  for (let a = box.top; a <= box.bottom; a += 1) inside.fill(1, a * SIZE + box.left, a * SIZE + box.right + 1);
  const sum = (test) => inside.reduce((total, one, cell) => total + (one && test(cell) ? 1 : 0), 0);
  const pairs = sum(() => true);
  const out = sum((cell) => held[cell]);
  const right = sum((cell) => held[cell] && answers[cell] === labels[cell]);
  const same = sum((cell) => held[cell] && answers[cell] === own.cells[cell]);
  const place = `Rows ${box.top} to ${box.bottom}, columns ${box.left} to ${box.right}: ${count(pairs)} pairs`;
  const heldOut = out ? `${count(out)} held out; of these the network has ${count(right)} right, and the hypothesis says what the network says of ${count(same)}` : "none of it held out";
  return `${place}, ${heldOut}.`;
}

function select(place, widen = false) {
  to = place;
  if (!widen || !from) from = place;
  shown = place;
  drawPlane();
  refresh();
}

function refresh() {
  colourCache = Object.fromEntries(["one", "zero", "vermilion", "text"].map((name) => [name, colour(name)]));
  $("cell").textContent = describe(shown);
  drawLine("row", true);
  drawLine("column", false);
  $("brush").textContent = countBrush();
}

// --- the hypothesis --------------------------------------------------------------------------

const share = (one, other, of) => {
  const found = agreement(one, other, of, SIZE);
  const cell = element("span", {}, percent(found.value));
  if (one !== other) cell.append(element("small", {}, `${percent(found.low)} to ${percent(found.high)}`.replaceAll(" %", "")));
  return cell;
};

function countAll() {
  const rows = [["your hypothesis", own.cells], ...rivals].map(([name, cells]) => [
    name, share(cells, answers, held), share(cells, labels, held), share(cells, labels, gaps),
  ]);
  fillRows($("counts"), rows, 0);
  const inGaps = gaps.reduce((x, y) => x + y, 0);
  const bits = own.bits ? `Your hypothesis reads ${count(own.bits)} row bits off the training pairs. ` : "";
  $("cost").textContent = `${bits}${count(held.reduce((x, y) => x + y, 0))} held-out pairs; ${inGaps} of them lie in gaps, between two training pairs of the row with different labels. Below each share: 95 %, whole rows drawn again.`;
}

function think() {
  try {
    own = hypothesis($("formula").value, $("bits").checked, setting);
    $("fault").textContent = "";
    $("formula").removeAttribute("aria-invalid");
  } catch (error) {
    $("fault").textContent = `Not understood: ${error.message}.`;
    $("formula").setAttribute("aria-invalid", "true");
    return;
  }
  countAll();
  drawPlane();
  refresh();
  const found = agreement(own.cells, answers, held, SIZE);
  announce(`Your hypothesis says what the network says of ${percent(found.value)} of held-out pairs.`);
}

const presets = [...(DATA.mine ? [{ name: "yours, from the notebook", formula: "mine", bits: false }] : []), ...DATA.presets];
presets.forEach((one, k) => $("preset").append(element("option", { value: k }, one.name)));
$("preset").append(element("option", { value: "", hidden: "" }, "your own"));
function take(k) {
  $("formula").value = presets[k].formula;
  $("bits").checked = presets[k].bits;
  think();
}
$("preset").addEventListener("change", (event) => take(Number(event.target.value)));
let typing;
$("formula").addEventListener("input", () => {
  $("preset").value = "";
  clearTimeout(typing);
  typing = setTimeout(think, 250);
});
$("bits").addEventListener("change", think);
$("held").addEventListener("change", drawPlane);
$("views").addEventListener("change", (event) => {
  view = event.target.value;
  drawPlane();
  announce($("legend").textContent);
});

// --- pointer and keys ------------------------------------------------------------------------

function placeOf(event) {
  const box = plane.getBoundingClientRect();
  const clip = (value) => Math.max(0, Math.min(SIZE - 1, Math.floor(value * SIZE)));
  return { a: clip((event.clientY - box.top) / box.height), b: clip((event.clientX - box.left) / box.width) };
}
let dragging = false;
plane.addEventListener("pointerdown", (event) => {
  dragging = event.pointerType === "mouse";
  if (dragging) plane.setPointerCapture(event.pointerId);
  select(placeOf(event), event.shiftKey);
});
plane.addEventListener("pointermove", (event) => {
  const place = placeOf(event);
  if (dragging && (place.a !== to.a || place.b !== to.b)) select(place, true);
  else {
    shown = place;
    $("cell").textContent = describe(place);
  }
});
plane.addEventListener("pointerup", () => {
  dragging = false;
  announce(countBrush());
});
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
plane.addEventListener("keydown", (event) => {
  if (event.key === "Escape") select(to);
  else if (event.key in MOVES) {
    const [down, right] = MOVES[event.key];
    const clip = (value) => Math.max(0, Math.min(SIZE - 1, value));
    select({ a: clip(to.a + down), b: clip(to.b + right) }, event.shiftKey);
  } else return;
  event.preventDefault();
  announce(from === to ? describe(to) : countBrush());
});

// begin where there is something to see: a gap that the network gets wrong, near the middle
const first = gaps.findIndex((gap, cell) => gap && answers[cell] !== labels[cell] && cell > 40 * SIZE);
from = to = shown = { a: Math.floor(first / SIZE), b: first % SIZE };
whenThemeChanges(() => {
  drawPlane();
  refresh();
});
take(0);
