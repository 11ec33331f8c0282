import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acceptedLength } from '../src/inline/offered';
import { lineGraceMs, showAfterMs, stepMs, textPatienceMs, wholeLines } from '../src/inline/part';

test('of a text that goes on, whole lines are shown', () => {
  assert.equal(wholeLines('foo('), 'foo(');
  assert.equal(wholeLines('foo():\n    ret'), 'foo():');
  assert.equal(wholeLines('foo():\n    return 1\n'), 'foo():\n    return 1');
  assert.equal(wholeLines('a\r\nb'), 'a');
  assert.equal(wholeLines('\n    foo'), '\n    foo', 'the first line with something in it');
  assert.equal(wholeLines('\n    foo\n  '), '\n    foo');
  assert.equal(wholeLines('a\n\n'), 'a', 'no empty lines below');
});

test('what is shown only grows', () => {
  const text = 'if x:\n    a = 1\n\n    return (a)\n';
  let shown = '';
  for (let end = 1; end <= text.length; ++end) {
    const now = wholeLines(text.slice(0, end));
    if (now.includes('\n') && shown.includes('\n')) assert.ok(now.startsWith(shown), JSON.stringify([shown, now]));
    assert.ok(text.startsWith(now));
    shown = now;
  }
});

test('a first line is shown soon, less than a line after some patience, blanks never', () => {
  assert.equal(showAfterMs('', '', 1000), undefined);
  assert.equal(showAfterMs('\n   ', '', 1000), undefined);
  assert.equal(showAfterMs('foo', '', 0), textPatienceMs);
  assert.equal(showAfterMs('foo', '', textPatienceMs + 5), 0);
  assert.equal(showAfterMs('foo\n', '', 5), lineGraceMs);
  assert.equal(showAfterMs('foo\nbar', '', 5000), lineGraceMs);
});

test('what is shown grows by lines, and not too often', () => {
  assert.equal(showAfterMs('foo\nba', 'foo', 500), undefined, 'no line more');
  assert.equal(showAfterMs('foo\nbar\n', 'foo', 20), stepMs - 20);
  assert.equal(showAfterMs('foo\nbar\n', 'foo', stepMs + 1), 0);
  assert.equal(showAfterMs('foo(a, b', 'foo(', 500), 0, 'a line may grow, too');
  assert.equal(showAfterMs('fun(a\nb\n', 'foo(', 500), undefined, 'another text waits for the end');
});

test('an insertion of a part of the offer is an acceptance', () => {
  const offer = 'return a + b;\n}';
  assert.equal(acceptedLength(offer, { text: 'return', length: 6 }), 6);
  assert.equal(acceptedLength(offer, { text: 'return a', length: 2 }), 8, 'after typing along');
  assert.equal(acceptedLength('a\nb\nc', { text: 'a\r\nb', length: 4 }), 3, 'line breaks count once');
});

test('typing, other text and all of it are not', () => {
  const offer = 'return a;';
  assert.equal(acceptedLength(offer, { text: 'r', length: 1 }), undefined);
  assert.equal(acceptedLength(offer, { text: 'rest', length: 4 }), undefined);
  assert.equal(acceptedLength(offer, { text: 'return a;', length: 9 }), undefined, 'VS Code tells of that');
  assert.equal(acceptedLength(offer, { text: 'return', length: -3 }), undefined, 'a deletion');
});
