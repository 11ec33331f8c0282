import assert from 'node:assert/strict';
import { test } from 'node:test';
import { barText, details, parseStatus, stateText } from '../src/status/status';

test('a status is read, what makes no sense is left out', () => {
  assert.deepEqual(
    parseStatus({
      state: 'loading',
      message: '',
      percent: 42,
      model: 'small',
      backend: 7,
      tokensPerSecond: Infinity,
      canChat: false,
      more: true,
    }),
    { state: 'loading', percent: 42, model: 'small', canChat: false },
  );
  for (const nonsense of [undefined, null, 3, 'idle', {}, { state: 'off' }, { state: 5 }]) {
    assert.equal(parseStatus(nonsense), undefined);
  }
});

test('the status bar says what goes on', () => {
  assert.equal(barText({ state: 'idle' }, true, 0), '$(zap) fimd');
  assert.equal(barText({ state: 'idle' }, false, 0), '$(circle-slash) fimd');
  assert.equal(barText({ state: 'loading', percent: 41.6 }, true, 0), '$(loading~spin) fimd 42%');
  assert.equal(barText({ state: 'snoozed' }, true, 4), '$(bell-slash) fimd 4 min');
  assert.equal(barText({ state: 'error' }, true, 0), '$(error) fimd');
  assert.equal(stateText({ state: 'idle' }, false, 0), 'Off in this file');
});

test('details have what is known', () => {
  const status = { state: 'idle', model: 'm', backend: 'cpu', tokensPerSecond: 211.7, cacheHitRate: 0.987 } as const;
  assert.deepEqual(details(status), [
    ['Model', 'm'],
    ['Backend', 'cpu'],
    ['Speed', '212 tokens/s'],
    ['Cache', '99 % of prompt tokens reused'],
  ]);
  assert.deepEqual(details({ state: 'idle', tokensPerSecond: 0 }), []);
});
