// Bounded waits: every wait of the tests ends in time and says what it waited for.
import { setTimeout as sleep } from 'node:timers/promises';

/** The machine may be busy: a wait that should take a second gets this long. */
export const defaultTimeout = 30_000;

/** Calls `condition` until its value is truthy, and returns that. */
export async function waitFor(what, condition, { timeout = defaultTimeout, describe } = {}) {
  const end = Date.now() + timeout;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) {
      const state = describe ? `; ${await describe()}` : '';
      throw new Error(`waited in vain (${timeout / 1000} s) for ${what}${state}`);
    }
    await sleep(15);
  }
}
