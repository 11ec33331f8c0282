// One test after another in the same window, each with files of its own, and the checks they share.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { inlineCompletion } from './wire.mjs';

/** Errors that LSP has for requests nobody waits for any more. */
const harmless = new Set([-32800, -32801, -32802]);

/**
 * @typedef {object} Test
 * @property {string} name
 * @property {Record<string, string>} [files] `|` in the first file marks the cursor
 * @property {object} [settings] the user's, for this test only
 * @property {boolean} [failuresExpected] the daemon or the client is killed on purpose
 * @property {(e: import('./editor.mjs').Editor, start: string) => Promise<void>} run `start` is the
 *   first file's text
 */

/** Runs one test, for the `turn`th time after its first. Throws if it fails. */
export async function runTest(session, test, pictures, turn = 0) {
  const e = session.editor;
  const slug = test.name.replace(/[^a-z0-9]+/gi, '-').toLowerCase() + (turn ? `-${turn}` : '');
  e.folder = join(session.project, slug);
  e.pictures = pictures;
  const since = e.wire.mark();
  const restore = {};
  mkdirSync(pictures, { recursive: true });
  try {
    for (const name of Object.keys(test.settings ?? {})) {
      restore[name] = (await e.probe.call('setting', { name }))?.globalValue ?? null;
    }
    if (test.settings) await e.configure(test.settings);
    const [first, ...others] = Object.entries(test.files ?? {});
    for (const [name, text] of others) e.write(name, text);
    let start = '';
    if (first) {
      const [name, marked] = first;
      const at = marked.indexOf('|');
      start = at < 0 ? marked : marked.slice(0, at) + marked.slice(at + 1);
      e.write(name, start);
      await e.open(name, at < 0 ? start.length : at);
    }
    await test.run(e, start);
    await session.page.screenshot({ path: join(pictures, `${slug}.png`) });
    if (!test.failuresExpected) {
      const bad = e.wire
        .messages()
        .slice(since)
        .filter(({ message }) => message.error && !harmless.has(message.error.code));
      assert.deepEqual(bad, [], 'errors on the wire');
      const shown = (await e.notifications()).filter((n) => n.kind === 'error');
      assert.deepEqual(shown, [], 'error messages in the window');
    }
  } catch (error) {
    error.message += `\n${await e.describe()}`;
    await session.page.screenshot({ path: join(pictures, `${slug}-FAILED.png`) }).catch(() => {});
    throw error;
  } finally {
    await tidy(e, restore).catch((error) => console.log(`tidying up after ${test.name}: ${error.message}`));
  }
}

/** Back to an empty window with the default settings. */
async function tidy(e, restore) {
  for (let i = 0; i < 3; ++i) await e.press('Escape');
  await e.probe.call('command', { id: 'notifications.clearAll' });
  for (let i = 0; i < 20 && (await e.state()); ++i) {
    await e.probe.call('command', { id: 'workbench.action.revertAndCloseActiveEditor' });
  }
  await e.probe.call('command', { id: 'workbench.action.closeAllEditors' });
  await e.configure(restore);
}

// ---- the checks

/** Waits until fimd has answered everything that was asked since a mark. */
export function settle(e, since = 0) {
  return e.wait('the last answer', () => e.wire.exchanges(since).every((x) => x.method !== inlineCompletion || x.answered));
}

/** The offset of an LSP position in a text. */
export function offsetOf(text, { line, character }) {
  let at = 0;
  for (; line > 0; --line) at = text.indexOf('\n', at) + 1;
  return at + character;
}

/** The newest request for inline completion, answered or not. */
export function lastAnswer(e, since = 0) {
  return e.wire.exchanges(since).findLast((x) => x.method === inlineCompletion);
}

/** Waits for ghost text that is what fimd said; {ghost, after}: the text shown, and the document's
 * text once it is accepted. */
export async function ghost(e, since = 0) {
  let seen;
  await e.wait('ghost text that fimd offered', async () => {
    const shown = await e.ghost();
    if (!shown) return false;
    await settle(e, since);
    const { text, selections } = await e.state();
    const cursor = selections[0].active;
    for (const x of e.wire.exchanges(since).reverse()) {
      if (x.method !== inlineCompletion) continue;
      for (const item of x.items) {
        const insert = item.insertText.value ?? item.insertText;
        const begin = offsetOf(text, item.range.start);
        const end = Math.max(cursor, offsetOf(text, item.range.end));
        const typed = text.slice(begin, cursor);
        const rest = text.slice(cursor, end);
        if (!insert.startsWith(typed) || !isOrderedIn(rest, insert.slice(typed.length))) continue;
        const offered = insert.slice(typed.length);
        if (blank(without(offered, rest)) !== blank(shown)) continue;
        seen = { ghost: shown, offered, after: text.slice(0, cursor) + offered + text.slice(end) };
        return (await e.ghost()) === shown && (await e.text()) === text;
      }
    }
    return false;
  });
  return seen;
}

/** Without blanks: ghost text is drawn without tabs, and with the indentation of its line. */
function blank(text) {
  return text.replace(/\s+/g, '');
}

function isOrderedIn(part, whole) {
  let at = 0;
  for (const c of whole) if (c === part[at]) ++at;
  return at >= part.length;
}

/** A text without the characters that are in the line already, such as closed brackets. */
function without(text, rest) {
  let kept = '';
  let at = rest.length - 1;
  for (let i = text.length - 1; i >= 0; --i) {
    if (at >= 0 && text[i] === rest[at]) --at;
    else kept = text[i] + kept;
  }
  return kept;
}

/**
 * The document's history must be what was typed, in order, and texts that fimd offered: nothing lost,
 * nothing twice, nothing else. For documents that only grow. Returns what was accepted.
 */
export async function checkHistory(e, name, start, typed, since) {
  const path = e.path(name);
  const journal = await e.probe.call('journal', { path });
  const offers = e.wire.offers(since);
  const offered = (text) => offers.some((offer) => offer.includes(text));
  let text = start;
  for (const step of journal) {
    // VS Code lets a suggestion have another indentation than what was typed, and then replaces it.
    const line = text.slice(text.lastIndexOf('\n', step.at - 1) + 1, step.at + step.removed.length);
    const indentation = line.trim() === '' && offered(step.text);
    assert.ok(step.removed === '' || indentation, `something was removed: ${JSON.stringify(journal)}`);
    text = text.slice(0, step.at) + step.text + text.slice(step.at + step.removed.length);
  }
  assert.equal(text, await e.probe.call('text', { path }), 'the journal tells the text');
  // Which steps are keys is found by trying: reachable[j] is how the first i steps can hold j typed characters.
  let reachable = new Map([[0, []]]);
  for (const step of journal) {
    const next = new Map();
    for (const [j, accepted] of reachable) {
      if (typed.startsWith(step.text, j)) next.set(j + step.text.length, accepted);
      if (offered(step.text) && !next.has(j)) next.set(j, [...accepted, step.text]);
    }
    reachable = next;
  }
  const accepted = reachable.get(typed.length);
  assert.ok(
    accepted,
    `${name} is not what was typed (${JSON.stringify(typed)}) and offered: ${JSON.stringify(journal)}`,
  );
  return accepted;
}
