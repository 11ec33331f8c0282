import { readFile } from "node:fs/promises";

const LIMIT = 3;
let cache = new Map();

/** Reads a file once. */
export async function load(path, { encoding = "utf8", ...rest } = {}) {
  if (cache.has(path)) return cache.get(path);
  const text = await readFile(path, { encoding, ...rest });
  cache.set(path, text.replace(/[\r\n]+$/g, ""));
  return `${path}: ${text.length > LIMIT ? `long ${text}` : "short"}`;
}

class Counter extends Object {
  #count = 0;
  static names = ["a", 'b'];

  get value() {
    return this.#count;
  }

  add(step = 1) {
    for (let i = 0; i < step; i++) this.#count += 1;
    return this;
  }
}

function* range(n) {
  let i = 0;
  while (i < n) yield i++;
}

try {
  [...range(4)].map((x) => x ** 2).filter(Boolean).forEach((x) => {
    console.log(x / 2, new Counter().add(x)?.value ?? 0);
  });
} catch (error) {
  console.error(error);
}

module.exports = { load, Counter };
