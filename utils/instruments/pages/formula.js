// Formulas of a pair of numbers, "b >= 20 * a^(1/3)", read without handing the text to `eval`.
// Comparisons forgive 1e-9, so that a cell exactly on a curve is on it, as in utils/data/grid.py.
const NEAR = 1e-9;
const FUNCTIONS = {
  abs: Math.abs, floor: Math.floor, ceil: Math.ceil, round: Math.round, sqrt: Math.sqrt,
  cbrt: Math.cbrt, log: Math.log, exp: Math.exp, sin: Math.sin, cos: Math.cos,
  min: Math.min, max: Math.max,
};
const BINARY = [
  { or: (x, y) => x() || y() ? 1 : 0, "||": (x, y) => (x() || y() ? 1 : 0) },
  { and: (x, y) => (x() && y() ? 1 : 0), "&&": (x, y) => (x() && y() ? 1 : 0) },
  {
    ">=": (x, y) => +(x() >= y() - NEAR), "<=": (x, y) => +(x() <= y() + NEAR),
    ">": (x, y) => +(x() > y() + NEAR), "<": (x, y) => +(x() < y() - NEAR),
    "==": (x, y) => +(Math.abs(x() - y()) <= NEAR), "=": (x, y) => +(Math.abs(x() - y()) <= NEAR),
    "!=": (x, y) => +(Math.abs(x() - y()) > NEAR),
  },
  { "+": (x, y) => x() + y(), "-": (x, y) => x() - y() },
  // a remainder is never negative, as in mathematics and in Python
  { "*": (x, y) => x() * y(), "/": (x, y) => x() / y(), "%": (x, y) => { const m = y(); return ((x() % m) + m) % m; } },
];
const COMPARED = 2; // "not" is weaker than a comparison, as in Python
const TOKEN = /\s*(?:(\d+\.?\d*|\.\d+)|([A-Za-z_]\w*)|(\*\*|>=|<=|==|!=|&&|\|\||[-+*/%^()<>=,!]))/y;

/** Text -> function of an object of variables. Throws an Error that says what is wrong where. */
function formula(text, variables) {
  const tokens = [];
  TOKEN.lastIndex = 0;
  const body = text.trimEnd();
  while (TOKEN.lastIndex < body.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(body);
    if (!match) throw new Error(`"${body.slice(at).trim()[0]}" means nothing here`);
    tokens.push(match[1] ?? match[2] ?? match[3]);
  }
  if (!tokens.length) throw new Error("write a formula of a and b");
  const known = Object.fromEntries(variables.map((name) => [name, 0]));
  let at = 0;
  const take = (wanted) => {
    if (tokens[at] !== wanted) throw new Error(`"${wanted}" is missing ${at < tokens.length ? `before "${tokens[at]}"` : "at the end"}`);
    at += 1;
  };

  function level(depth) {
    if (depth === BINARY.length) return sign();
    if (depth === COMPARED && tokens[at] === "not") { at += 1; const inner = level(depth); return () => +!inner(); }
    let left = level(depth + 1);
    while (Object.hasOwn(BINARY[depth], tokens[at] ?? "")) {
      const work = BINARY[depth][tokens[at++]];
      const [before, after] = [left, level(depth + 1)];
      left = () => work(before, after);
    }
    return left;
  }
  function sign() {
    if (tokens[at] === "-") { at += 1; const inner = sign(); return () => -inner(); }
    if (tokens[at] === "+") { at += 1; return sign(); }
    if (tokens[at] === "!") { at += 1; const inner = sign(); return () => +!inner(); }
    return power();
  }
  function power() {
    const base = atom();
    if (tokens[at] !== "^" && tokens[at] !== "**") return base;
    at += 1;
    const exponent = sign(); // binds to the right: 2^3^2 is 2^9
    return () => base() ** exponent();
  }
  function atom() {
    const token = tokens[at++];
    if (token === undefined) throw new Error("the formula stops too early");
    if (/^[\d.]/.test(token)) { const value = Number(token); return () => value; }
    if (token === "(") { const inner = level(0); take(")"); return inner; }
    if (token === "pi") return () => Math.PI;
    if (Object.hasOwn(known, token)) return () => known[token];
    if (Object.hasOwn(FUNCTIONS, token)) {
      take("(");
      const given = [level(0)];
      while (tokens[at] === ",") { at += 1; given.push(level(0)); }
      take(")");
      return () => FUNCTIONS[token](...given.map((one) => one()));
    }
    if (/^\w/.test(token)) throw new Error(`"${token}" is unknown; there are ${variables.join(", ")} and ${Object.keys(FUNCTIONS).join(", ")}`);
    throw new Error(`"${token}" stands where a number or a name should`);
  }

  const value = level(0);
  if (at < tokens.length) throw new Error(`"${tokens[at]}" comes too much`);
  return (given) => {
    Object.assign(known, given);
    return value();
  };
}

