import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyHunks, hunkAt, makeHunks, placesAfter, stillFits } from '../src/diff/hunks';
import { diffLines, splitLines } from '../src/diff/lines';

/** A small generator of pseudo-random numbers, the same in every run. */
function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

/** Length of the longest common subsequence, by the table. */
function common(before: string[], after: string[]): number {
  let row = new Array<number>(after.length + 1).fill(0);
  for (const line of before) {
    const next = [0];
    after.forEach((other, j) => {
      next.push(line === other ? (row[j] ?? 0) + 1 : Math.max(row[j + 1] ?? 0, next[j] ?? 0));
    });
    row = next;
  }
  return row[after.length] ?? 0;
}

test('lines join to the text again', () => {
  for (const text of ['', '\n', 'a', 'a\n', 'a\r\nb', '\n\na\n\n']) {
    assert.equal(splitLines(text).join(''), text);
  }
});

test('the difference is right and as short as possible', () => {
  const next = random(7);
  for (let round = 0; round < 2000; ++round) {
    const lines = (): string[] => Array.from({ length: next(9) }, () => 'abc'.charAt(next(3)));
    const [before, after] = [lines(), lines()];
    const changes = diffLines(before, after);
    const rebuilt: string[] = [];
    let at = 0;
    let touched = 0;
    for (const { oldBegin, oldEnd, newBegin, newEnd } of changes) {
      assert.ok(oldBegin >= at, 'in order');
      rebuilt.push(...before.slice(at, oldBegin), ...after.slice(newBegin, newEnd));
      at = oldEnd;
      touched += oldEnd - oldBegin + (newEnd - newBegin);
    }
    rebuilt.push(...before.slice(at));
    assert.deepEqual(rebuilt, after);
    assert.equal(touched, before.length + after.length - 2 * common(before, after));
  }
});

test('texts that have nothing in common are one change, however long', () => {
  const before = Array.from({ length: 3000 }, (_, i) => `old ${i}`);
  const after = Array.from({ length: 3000 }, (_, i) => `new ${i}`);
  assert.deepEqual(diffLines(before, after), [{ oldBegin: 0, oldEnd: 3000, newBegin: 0, newEnd: 3000 }]);
});

test('any choice of hunks gives a text between the two', () => {
  const next = random(11);
  for (let round = 0; round < 500; ++round) {
    const text = (): string => Array.from({ length: next(14) }, () => `${'abcd'.charAt(next(4))}\n`).join('');
    const [before, after] = [text(), text()];
    const above = ['# one\n', '# two\n'];
    const lines = [...above, ...splitLines(before), 'end'];
    const hunks = makeHunks(before, after, above.length);
    assert.ok(stillFits(lines, hunks));
    assert.equal(applyHunks(lines, hunks).join(''), `${above.join('')}${after}end`, 'all of them');

    for (const hunk of hunks) hunk.verdict = next(2) === 0 ? 'rejected' : 'accepted';
    const chosen = applyHunks(lines, hunks);
    for (const { hunk, begin, end } of placesAfter(hunks)) {
      assert.deepEqual(chosen.slice(begin, end), hunk.added, 'where it is said to be');
    }
    for (const hunk of hunks) hunk.verdict = 'rejected';
    assert.deepEqual(applyHunks(lines, hunks), lines, 'none of them');
  }
});

test('changes far apart are hunks of their own', () => {
  const before = 'a\nb\nc\nd\ne\nf\n';
  const hunks = makeHunks(before, 'A\nb\nc\nd\ne\nF\nG\n', 10);
  assert.deepEqual(
    hunks.map(({ begin, end, added }) => [begin, end, added]),
    [
      [10, 11, ['A\n']],
      [15, 16, ['F\n', 'G\n']],
    ],
  );
  assert.equal(makeHunks('a\nb\nc\n', 'A\nb\nC\n', 0).length, 1, 'one equal line does not part them');
  assert.deepEqual(makeHunks(before, before, 0), []);
});

test('a hunk is found by its line, decided ones are passed over', () => {
  const [first, second] = makeHunks('a\nb\nc\nd\ne\nf\n', 'A\nb\nc\nd\ne\nF\nG\n', 0);
  assert.ok(first && second);
  const hunks = [first, second];
  assert.equal(hunkAt(hunks, 0), first);
  assert.equal(hunkAt(hunks, 1), second, 'the next one');
  assert.equal(hunkAt(hunks, 6), second);
  assert.equal(hunkAt(hunks, 99), second, 'the last one');
  second.verdict = 'accepted';
  assert.equal(hunkAt(hunks, 5), first);
  first.verdict = 'rejected';
  assert.equal(hunkAt(hunks, 0), undefined);
});

test('a removal has a place, too', () => {
  const hunks = makeHunks('a\nb\nc\nd\n', 'a\nd\n', 0);
  assert.deepEqual(placesAfter(hunks).map(({ begin, end }) => [begin, end]), [[1, 1]]);
  assert.equal(hunkAt(hunks, 1), hunks[0]);
});

test('a document that changed does not fit', () => {
  const hunks = makeHunks('a\nb\n', 'a\nB\n', 1);
  assert.ok(stillFits(['x\n', 'a\n', 'b\n'], hunks));
  assert.ok(!stillFits(['x\n', 'a\n', 'c\n'], hunks));
  assert.ok(!stillFits(['a\n', 'b\n'], hunks));
});

test('lines with \\r\\n are kept', () => {
  const hunks = makeHunks('a\r\nb\r\n', 'a\r\nB\r\n', 0);
  assert.equal(applyHunks(['a\r\n', 'b\r\n'], hunks).join(''), 'a\r\nB\r\n');
});
