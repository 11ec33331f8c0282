// The difference of two lists of lines. Pure functions.

/** Lines `oldBegin` up to `oldEnd` of the old text become `newBegin` up to `newEnd` of the new one. */
export interface Change {
  oldBegin: number;
  oldEnd: number;
  newBegin: number;
  newEnd: number;
}

/** More differing lines than this make one change of all that differs. */
const maxDistance = 2000;

/** The lines of a text with their line breaks: joined, they are the text. */
export function splitLines(text: string): string[] {
  return text === '' ? [] : text.split(/(?<=\n)/);
}

/**
 * The shortest edit script (E. Myers, "An O(ND) Difference Algorithm and Its Variations", 1986), as
 * pairs of equal lines; undefined if it is longer than `maxDistance`.
 */
function equalPairs(before: string[], after: string[]): [number, number][] | undefined {
  const [n, m] = [before.length, after.length];
  const limit = Math.min(n + m, maxDistance);
  const reach = new Int32Array(2 * limit + 3); // furthest x on each diagonal k = x - y
  const history: Int32Array[] = [];
  const at = (k: number): number => reach[k + limit + 1] ?? 0;
  for (let d = 0; d <= limit; ++d) {
    history.push(reach.slice());
    for (let k = -d; k <= d; k += 2) {
      let x = k === -d || (k !== d && at(k - 1) < at(k + 1)) ? at(k + 1) : at(k - 1) + 1;
      while (x < n && x - k < m && before[x] === after[x - k]) ++x;
      reach[k + limit + 1] = x;
      if (x >= n && x - k >= m) return walkBack(history, limit, n, m, d);
    }
  }
  return undefined;
}

function walkBack(history: Int32Array[], limit: number, n: number, m: number, distance: number): [number, number][] {
  const pairs: [number, number][] = [];
  let [x, y] = [n, m];
  for (let d = distance; d >= 0; --d) {
    const reach = history[d];
    const at = (k: number): number => reach?.[k + limit + 1] ?? 0;
    const k = x - y;
    const down = k === -d || (k !== d && at(k - 1) < at(k + 1));
    const previous = down ? k + 1 : k - 1;
    const fromX = d === 0 ? 0 : at(previous);
    const fromY = d === 0 ? 0 : fromX - previous;
    const stepX = d === 0 ? 0 : down ? fromX : fromX + 1;
    while (x > stepX && y > 0) pairs.push([--x, --y]);
    [x, y] = [fromX, fromY];
  }
  return pairs.reverse();
}

/** The changes that turn one list of lines into the other, in order. */
export function diffLines(before: string[], after: string[]): Change[] {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) ++head;
  let tail = 0;
  const most = Math.min(before.length, after.length) - head;
  while (tail < most && before[before.length - 1 - tail] === after[after.length - 1 - tail]) ++tail;

  const oldMiddle = before.slice(head, before.length - tail);
  const newMiddle = after.slice(head, after.length - tail);
  const pairs = equalPairs(oldMiddle, newMiddle) ?? [];
  const changes: Change[] = [];
  let [oldAt, newAt] = [0, 0];
  for (const [oldLine, newLine] of [...pairs, [oldMiddle.length, newMiddle.length] as const]) {
    if (oldLine > oldAt || newLine > newAt) {
      changes.push({
        oldBegin: head + oldAt,
        oldEnd: head + oldLine,
        newBegin: head + newAt,
        newEnd: head + newLine,
      });
    }
    [oldAt, newAt] = [oldLine + 1, newLine + 1];
  }
  return changes;
}
