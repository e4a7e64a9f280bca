// The course's SmallCNN, forwards: 16x16 image -> ten logits. No page in here, so that tests can
// run it. Weights come as half-precision floats; all sums are made in single precision.

/** Base64 of little-endian half floats -> Float32Array. */
function halves(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 2 }, (_, k) => {
    const bits = view.getUint16(2 * k, true);
    const [sign, power, rest] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (power === 0) return sign * rest * 2 ** -24;
    return sign * (1 + rest / 1024) * 2 ** (power - 15);
  });
}

/** All weights in one list, in the order of `shapes` -> {name: Float32Array}. */
function network(text, shapes) {
  const all = halves(text);
  const parts = {};
  let at = 0;
  for (const [name, size] of shapes) {
    parts[name] = all.subarray(at, at + size);
    at += size;
  }
  return parts;
}

/** A 3x3 convolution with a border of zeros, ReLU, and the largest of each 2x2 square.
 * input: [channels, side, side] -> [filters, side / 2, side / 2], all in flat lists. */
function stage(input, channels, side, weight, bias, filters) {
  const half = side / 2;
  const wide = side + 2;
  const padded = new Float32Array(channels * wide * wide);
  for (let c = 0; c < channels; c += 1) {
    for (let y = 0; y < side; y += 1) {
      padded.set(input.subarray((c * side + y) * side, (c * side + y + 1) * side), (c * wide + y + 1) * wide + 1);
    }
  }
  const output = new Float32Array(filters * half * half);
  const sums = new Float32Array(side * side);
  for (let f = 0; f < filters; f += 1) {
    sums.fill(bias[f]);
    for (let c = 0; c < channels; c += 1) {
      for (let tap = 0; tap < 9; tap += 1) {
        const w = weight[(f * channels + c) * 9 + tap];
        const shift = (c * wide + Math.floor(tap / 3)) * wide + (tap % 3);
        for (let y = 0; y < side; y += 1) {
          const from = shift + y * wide;
          const to = y * side;
          for (let x = 0; x < side; x += 1) sums[to + x] += w * padded[from + x];
        }
      }
    }
    for (let y = 0; y < half; y += 1) {
      for (let x = 0; x < half; x += 1) {
        const k = 2 * y * side + 2 * x;
        output[(f * half + y) * half + x] = Math.max(0, sums[k], sums[k + 1], sums[k + side], sums[k + side + 1]);
      }
    }
  }
  return output;
}

/** weight [out, in] times input, plus bias. */
function linear(input, weight, bias) {
  return Float32Array.from(bias, (start, row) => {
    let sum = start;
    const at = row * input.length;
    for (let k = 0; k < input.length; k += 1) sum += weight[at + k] * input[k];
    return sum;
  });
}

/** The ten logits of an image, Float32Array(256) in 0..1. */
function logitsOf(net, image) {
  const first = stage(image, 1, 16, net["conv1.weight"], net["conv1.bias"], 16);
  const second = stage(first, 16, 8, net["conv2.weight"], net["conv2.bias"], 32);
  const hidden = linear(second, net["fc1.weight"], net["fc1.bias"]).map((value) => Math.max(0, value));
  return linear(hidden, net["fc2.weight"], net["fc2.bias"]);
}

/** Class and its probability. */
function answerOf(net, image) {
  const logits = logitsOf(net, image);
  const top = Math.max(...logits);
  const digit = logits.indexOf(top);
  return { digit, sure: 1 / logits.reduce((sum, value) => sum + Math.exp(value - top), 0) };
}

// --- triggers --------------------------------------------------------------------------------

/** How a painted pixel meets the image: x what was there, ink what is painted. */
const BLENDS = {
  over: (x, ink) => ink,
  lighten: (x, ink) => Math.max(x, ink),
  darken: (x, ink) => Math.min(x, ink),
  invert: (x) => 1 - x,
};

/** The image with a trigger: mask 0..1 says how strongly each pixel is painted, ink with what. */
function triggered(image, mask, ink, blend) {
  const mix = BLENDS[blend];
  return image.map((x, k) => (1 - mask[k]) * x + mask[k] * mix(x, ink[k]));
}

/** Wilson's interval of 95 % for a share. */
function wilson(hits, n) {
  const [z, p] = [1.959963984540054, hits / n];
  const middle = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n))) / (1 + (z * z) / n);
  return { value: p, low: hits ? middle - half : 0, high: hits < n ? middle + half : 1 };
}
