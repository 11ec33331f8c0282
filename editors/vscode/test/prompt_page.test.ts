import assert from 'node:assert/strict';
import { test } from 'node:test';
import { costLine, isReport, promptPage } from '../src/tools/prompt_page';

const report = {
  source: 'model',
  outcome: 'shown',
  promptTokens: 1200,
  cachedTokens: 1199,
  computedTokens: 1,
  decodedTokens: 9,
  firstTextMs: 3.6,
  totalMs: 11.2,
};

test('the cost of a suggestion, in a line', () => {
  assert.equal(
    costLine(report),
    '1200 prompt tokens (1199 cached, 1 computed), 9 generated; first text after 4 ms, all after 11 ms',
  );
  assert.equal(costLine({ ...report, source: 'typing-through', totalMs: 0.3 }), 'from typing-through, 0.3 ms');
});

test('what is no report is not one', () => {
  assert.ok(isReport(report));
  for (const other of [null, undefined, 1, {}, { source: 'model' }]) assert.ok(!isReport(other));
});

test('the page has the parts, their sum and the prompt itself', () => {
  const explanation = {
    parts: [
      { name: 'snippet a.py:1-9', text: 'x', tokens: 90 },
      { name: 'prefix', text: 'y', tokens: 10 },
    ],
    rendered: '<fim_prefix>x y',
    fimFormat: 'psm',
    multiLine: true,
    modeReason: 'an empty block',
  };
  const page = promptPage('b.py:3:1', explanation, undefined);
  assert.match(page, /b\.py:3:1/);
  assert.match(page, /psm form, several lines wanted \(an empty block\)/);
  assert.match(page, /^ +90 tokens {2}snippet a\.py:1-9$/m);
  assert.match(page, /^ +100 tokens {2}in all$/m);
  assert.ok(page.includes('\n<fim_prefix>x y\n'));
  assert.ok(!page.includes('The last suggestion'));
  assert.ok(promptPage('b.py:3:1', explanation, report).includes('The last suggestion: 1200'));
});
