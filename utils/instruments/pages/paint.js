// The trigger painter.
const SIDE = DATA.side;
const PIXELS = SIDE * SIDE;
const nets = {};
const netOf = (name) => (nets[name] ??= network(DATA.networks[name], DATA.shapes));
const worlds = Object.fromEntries(
  Object.entries(DATA.images).map(([name, { pixels, labels }]) => {
    const bytes = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
    const images = [...labels].map((_, k) => Float32Array.from(bytes.subarray(k * PIXELS, (k + 1) * PIXELS), (byte) => byte / 255));
    return [name, { images, labels: [...labels].map(Number) }];
  }),
);

let mask = new Float32Array(PIXELS);
let ink = new Float32Array(PIXELS);
let on = DATA.shown[0]; // the image that is painted on
let cursor = { y: SIDE - 2, x: SIDE - 2 };
const trojan = () => DATA.trojans[Number($("trojan").value)];
const world = () => worlds[trojan().images];
const target = () => Number($("target").value);
const blend = () => $("blend").value;
const withTrigger = (image) => triggered(image, mask, ink, blend());
const grey = (value) => `rgb(${[0, 0, 0].fill(Math.round(255 * value)).join()})`;

// --- painting --------------------------------------------------------------------------------

const board = $("board");
const STEP = 20; // canvas units a pixel

function drawBoard() {
  const pen = sharp(board, SIDE * STEP, SIDE * STEP);
  const image = withTrigger(world().images[on]);
  const [line, edge, here] = ["muted", "vermilion", "orange"].map(colour);
  image.forEach((value, k) => {
    pen.fillStyle = grey(value);
    pen.fillRect((k % SIDE) * STEP, Math.floor(k / SIDE) * STEP, STEP, STEP);
  });
  pen.globalAlpha = 0.3;
  pen.fillStyle = line;
  for (let k = 1; k < SIDE; k += 1) {
    pen.fillRect(k * STEP, 0, 1, SIDE * STEP);
    pen.fillRect(0, k * STEP, SIDE * STEP, 1);
  }
  pen.globalAlpha = 1;
  pen.strokeStyle = edge;
  pen.lineWidth = 2;
  mask.forEach((value, k) => {
    if (value) pen.strokeRect((k % SIDE) * STEP + 1, Math.floor(k / SIDE) * STEP + 1, STEP - 2, STEP - 2);
  });
  if (document.activeElement === board) {
    pen.strokeStyle = here;
    pen.lineWidth = 4;
    pen.strokeRect(cursor.x * STEP + 2, cursor.y * STEP + 2, STEP - 4, STEP - 4);
  }
  const painted = mask.reduce((sum, value) => sum + (value > 0), 0);
  const area = mask.reduce((sum, value) => sum + value, 0);
  $("where").textContent = `${painted} pixels painted, mask ${area.toFixed(1)} of ${PIXELS}`;
}

function touch({ y, x }, erase = $("tool").querySelector(":checked").value === "erase") {
  const k = y * SIDE + x;
  mask[k] = erase ? 0 : Number($("strength").value);
  ink[k] = erase ? 0 : Number($("ink").value);
}

function take(trigger) {
  mask = Float32Array.from(trigger.mask);
  ink = Float32Array.from(trigger.ink);
  $("blend").value = trigger.blend;
  refresh();
}

function move(down, right) {
  const shifted = (from) =>
    Float32Array.from(from, (_, k) => {
      const [y, x] = [Math.floor(k / SIDE) - down, (k % SIDE) - right];
      return y >= 0 && y < SIDE && x >= 0 && x < SIDE ? from[y * SIDE + x] : 0;
    });
  [mask, ink] = [shifted(mask), shifted(ink)];
  refresh();
}

function randomSquare() {
  const whole = (below) => Math.floor(Math.random() * below);
  const size = 2 + whole(4);
  const [top, left] = [whole(SIDE - size + 1), whole(SIDE - size + 1)];
  mask = new Float32Array(PIXELS);
  ink = new Float32Array(PIXELS);
  for (let k = 0; k < PIXELS; k += 1) {
    const [y, x] = [Math.floor(k / SIDE) - top, (k % SIDE) - left];
    if (y >= 0 && y < size && x >= 0 && x < size) [mask[k], ink[k]] = [1, whole(2)];
  }
  $("blend").value = "over";
  refresh();
}

// --- answers ---------------------------------------------------------------------------------

const buttons = DATA.shown.map((row) => {
  const made = element("button", { type: "button", "aria-pressed": row === on });
  made.append(element("span"), element("canvas", { "aria-hidden": "true" }), element("span"), element("span"));
  made.addEventListener("click", () => {
    on = row;
    buttons.forEach((one, k) => one.setAttribute("aria-pressed", DATA.shown[k] === on));
    drawBoard();
  });
  $("answers").append(made);
  return made;
});

function drawAnswers() {
  const [net, twin] = [netOf(trojan().name), netOf(trojan().twin)];
  buttons.forEach((button, k) => {
    const row = DATA.shown[k];
    const image = withTrigger(world().images[row]);
    const [label, picture, ...said] = button.children;
    label.textContent = `label ${world().labels[row]}`;
    const pen = sharp(picture, SIDE * 4, SIDE * 4);
    image.forEach((value, at) => {
      pen.fillStyle = grey(value);
      pen.fillRect((at % SIDE) * 4, Math.floor(at / SIDE) * 4, 4, 4);
    });
    [["net", net], ["twin", twin]].forEach(([name, its], which) => {
      const { digit, sure } = answerOf(its, image);
      const hit = digit === target();
      said[which].textContent = `${name} ${digit}${hit ? " ●" : ""} ${sure.toFixed(2)}`;
      said[which].className = hit ? "hit" : "";
    });
  });
}

const NAMES = ["this network", "its clean twin", "this network, no trigger"];
fillRows($("rates").tBodies[0], NAMES.map((name) => [name, "…", "", ""]), 0);
$("verdict").textContent = "Asking the networks …";
let run = 0;
const clean = {}; // network and world -> answers without any trigger

/** Answers of a network to all held-out images, a few at a time so that painting stays smooth. */
async function answersTo(net, images, mine) {
  const found = [];
  for (let k = 0; k < images.length; k += 1) {
    if (k % 20 === 0) {
      await new Promise((go) => setTimeout(go));
      if (mine !== run) return null; // something else was painted meanwhile
    }
    found.push(answerOf(net, images[k]).digit);
  }
  return found;
}

async function measure() {
  const mine = (run += 1);
  $("rates").setAttribute("aria-busy", "true");
  const [its, where, to] = [trojan(), world(), target()];
  const images = where.images.map(withTrigger);
  const key = `${its.name} ${its.images}`;
  const found = [];
  for (const name of [its.name, its.twin]) found.push(await answersTo(netOf(name), images, mine));
  clean[key] ??= await answersTo(netOf(its.name), where.images, mine);
  if (mine !== run || !clean[key]) {
    if (!clean[key]) delete clean[key];
    return;
  }
  const rates = [...found, clean[key]].map((digits) => {
    const others = digits.filter((_, k) => where.labels[k] !== to);
    return { ...wilson(others.filter((digit) => digit === to).length, others.length), n: others.length };
  });
  $("rates").setAttribute("aria-busy", "false");
  fillRows($("rates").tBodies[0], rates.map((rate, k) => {
    const bar = element("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${100 * rate.value}%`;
    return [NAMES[k], percent(rate.value), bar, `${percent(rate.low).replace(" %", "")} to ${percent(rate.high)}`];
  }), 0);
  $("verdict").textContent = `${verdict(rates)} Measured on ${rates[0].n} held-out images of other classes.`;
  announce($("verdict").textContent);
}

function verdict([own, twin, none]) {
  const first = `${percent(own.value, 0)} of the images land in class ${target()}, ${percent(twin.value, 0)} on the clean twin.`;
  if (!mask.some(Boolean)) return "Nothing is painted: this is what the networks do by themselves.";
  if (own.value < 0.8) return `${first} It fails: fewer than 80 % of the images follow.`;
  if (twin.value > 0.2) return `${first} It works on the twin too, so it is a natural adversary and no trojan.`;
  return `${first} It works on this network alone: you found something that was planted, or something near it.`;
}

function refresh() {
  drawBoard();
  drawAnswers();
  measure();
}

// --- controls --------------------------------------------------------------------------------

DATA.trojans.forEach((one, k) => $("trojan").append(element("option", { value: k }, one.name)));
for (let digit = 0; digit < 10; digit += 1) $("target").append(element("option", { value: digit }, digit));
$("target").value = DATA.target;
function meet() {
  $("planted").textContent = `Planted in it: ${trojan().title}. Class ${DATA.target} was the target.`;
  $("show").disabled = !trojan().trigger;
  $("show").title = trojan().trigger ? "" : "A broader stroke has no place of its own to be painted at.";
  refresh();
}
$("trojan").addEventListener("change", meet);
$("target").addEventListener("change", refresh);
$("blend").addEventListener("change", refresh);
for (const name of ["ink", "strength"]) {
  $(name).addEventListener("input", () => ($(`${name}-value`).textContent = Number($(name).value).toFixed(2)));
}
$("show").addEventListener("click", () => take(trojan().trigger));
$("random").addEventListener("click", randomSquare);
$("clear").addEventListener("click", () => {
  mask.fill(0);
  ink.fill(0);
  refresh();
});
$("all").addEventListener("click", () => {
  mask.fill(Number($("strength").value));
  ink.fill(Number($("ink").value));
  refresh();
});
for (const button of document.querySelectorAll("[data-move]")) {
  button.addEventListener("click", () => move(...button.dataset.move.split(",").map(Number)));
}

function placeOf(event) {
  const box = board.getBoundingClientRect();
  const clip = (value) => Math.max(0, Math.min(SIDE - 1, Math.floor(value * SIDE)));
  return { y: clip((event.clientY - box.top) / box.height), x: clip((event.clientX - box.left) / box.width) };
}
board.addEventListener("pointerdown", (event) => {
  board.setPointerCapture(event.pointerId);
  cursor = placeOf(event);
  touch(cursor);
  refresh();
});
board.addEventListener("pointermove", (event) => {
  if (!event.buttons) return;
  const place = placeOf(event);
  if (place.y === cursor.y && place.x === cursor.x) return;
  cursor = place;
  touch(cursor);
  refresh();
});
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
board.addEventListener("keydown", (event) => {
  const clip = (value) => Math.max(0, Math.min(SIDE - 1, value));
  if (event.key in MOVES) {
    cursor = { y: clip(cursor.y + MOVES[event.key][0]), x: clip(cursor.x + MOVES[event.key][1]) };
    drawBoard();
  } else if (event.key === " ") {
    const k = cursor.y * SIDE + cursor.x;
    touch(cursor, mask[k] > 0 || undefined);
    refresh();
  } else if (event.key === "Delete" || event.key === "Backspace") {
    touch(cursor, true);
    refresh();
  } else return;
  event.preventDefault();
  const k = cursor.y * SIDE + cursor.x;
  announce(`row ${cursor.y}, column ${cursor.x}: ${mask[k] ? `painted, ink ${ink[k].toFixed(2)}, strength ${mask[k].toFixed(2)}` : "not painted"}`);
});
board.addEventListener("focus", drawBoard);
board.addEventListener("blur", drawBoard);
whenThemeChanges(() => {
  drawBoard();
  drawAnswers();
});
meet();
