// What can be said of a grid of pairs: hypotheses, and how far they agree. No page in here, so that
// tests can run it. A grid is a Uint8Array, cell (a, b) at a * size + b.

/** "0101..." -> cells. */
const cellsOf = (text) => Uint8Array.from(text, (letter) => +(letter === "1"));

/** The label of the nearest training pair in the same row, the left one of two equally near. */
function nearestOf(labels, seen, size) {
  const found = new Uint8Array(labels.length);
  for (let cell = 0; cell < found.length; cell += 1) {
    const column = cell % size;
    for (let step = 1; step < size; step += 1) {
      const left = column - step >= 0 && seen[cell - step];
      const right = column + step < size && seen[cell + step];
      if (!left && !right) continue;
      found[cell] = labels[left ? cell - step : cell + step];
      break;
    }
  }
  return found;
}

/** Held-out cells between two training pairs of different labels. */
function gapsOf(labels, seen, size) {
  const found = new Uint8Array(labels.length);
  for (let row = 0; row < size; row += 1) {
    let last = -1;
    for (let cell = row * size; cell < (row + 1) * size; cell += 1) {
      if (!seen[cell]) continue;
      if (last >= 0 && labels[last] !== labels[cell]) found.fill(1, last + 1, cell);
      last = cell;
    }
  }
  return found;
}

/** A hypothesis: `;` separates conditions. With row bits each row is cut where a condition changes,
 * and each piece says the majority of `answers` on its training pairs; without, one formula gives
 * the label. layers: name -> cells that a formula may name beside a and b. Returns {cells, bits}. */
function hypothesis(text, rowBits, { answers, seen, size, layers }) {
  const parts = text.split(";").filter((part) => part.trim());
  if (!parts.length) throw new Error("write a formula of a and b");
  if (parts.length > 1 && !rowBits) throw new Error("several conditions need row bits: tick the box, or write one formula");
  if (parts.length > 20) throw new Error("at most 20 conditions");
  const names = ["a", "b", ...Object.keys(layers)];
  const compiled = parts.map((part) => formula(part, names));
  const piece = new Uint32Array(size * size);
  const given = {};
  for (let cell = 0; cell < piece.length; cell += 1) {
    given.a = Math.floor(cell / size);
    given.b = cell % size;
    for (const name in layers) given[name] = layers[name][cell];
    compiled.forEach((one, k) => {
      const value = one(given);
      if (Number.isNaN(value)) throw new Error(`no number comes out at a = ${given.a}, b = ${given.b}`);
      if (value) piece[cell] |= 1 << k;
    });
  }
  if (!rowBits) return { cells: Uint8Array.from(piece, (value) => +(value > 0)), bits: 0 };
  const cells = new Uint8Array(size * size);
  let bits = 0;
  for (let row = 0; row < size; row += 1) {
    const votes = new Map();
    for (let cell = row * size; cell < (row + 1) * size; cell += 1) {
      if (seen[cell]) votes.set(piece[cell], (votes.get(piece[cell]) ?? 0) + (answers[cell] ? 1 : -1));
    }
    bits += votes.size;
    for (let cell = row * size; cell < (row + 1) * size; cell += 1) cells[cell] = +((votes.get(piece[cell]) ?? 0) > 0);
  }
  return { cells, bits };
}

/** Share of the cells `of` in which two grids are the same. The interval draws whole rows again,
 * 500 times with a fixed seed: cells of a row hang together. Returns {value, low, high, hits, n}. */
function agreement(one, other, of, size) {
  const hits = new Float64Array(size);
  const total = new Float64Array(size);
  for (let cell = 0; cell < one.length; cell += 1) {
    if (!of[cell]) continue;
    const row = Math.floor(cell / size);
    total[row] += 1;
    hits[row] += +(one[cell] === other[cell]);
  }
  const sum = (values) => values.reduce((x, y) => x + y, 0);
  const rows = [...total.keys()].filter((row) => total[row]);
  const n = sum(total);
  if (!n) return { value: NaN, low: NaN, high: NaN, hits: 0, n: 0 };
  const random = numbers(1);
  const draws = Float64Array.from({ length: 500 }, () => {
    let [right, all] = [0, 0];
    for (let k = 0; k < rows.length; k += 1) {
      const row = rows[Math.floor(random() * rows.length)];
      right += hits[row];
      all += total[row];
    }
    return right / all;
  }).sort();
  return { value: sum(hits) / n, low: draws[12], high: draws[487], hits: sum(hits), n };
}

/** Random numbers in 0..1 that are the same for the same seed (mulberry32). */
function numbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

