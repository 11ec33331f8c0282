// Ghost text that grows while the model writes: the daemon's answers are held back, piece by piece.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ghost, lastAnswer, offsetOf, settle } from './lib/harness.mjs';

const listing = `import os

def list_files(folder):
    names = []
    for name in os.listdir(folder):
        names.append(name)
    return names

`;

/** How much the model says is its own affair: these are tried until it is enough. */
const tries = [
  'def list_dirs(folder):',
  'def list_all(folder):',
  'def list_files_twice(folder):\n    names = []',
  'def list_names(folder, suffix):',
];

const pace = join(process.env.FIMD_E2E_WORK, 'pace');

/** Each piece of an answer takes so long from now on; 0: as long as it takes. */
function slow(ms) {
  if (ms > 0) writeFileSync(pace, String(ms));
  else rmSync(pace, { force: true });
}

/** Back to the text on disk with the cursor at its end; returns a mark in the wire's log. */
async function afresh(e, start) {
  await e.probe.call('command', { id: 'workbench.action.files.revert' });
  await e.waitText(start);
  await e.press('Control+End');
  return e.wire.mark();
}

/** Begins to note what ghost text each drawn frame has. */
function watch(e) {
  return e.page.evaluate(() => {
    const seen = (window.fimdGhosts = []);
    const plain = (line) => line.textContent.replace(/\u00a0/g, ' ').replace(/[\u200b\u200c]/g, '');
    const look = () => {
      if (window.fimdGhosts !== seen) return;
      const inline = [...document.querySelectorAll('.view-lines [class*="ghost-text-decoration"]')];
      const below = [...document.querySelectorAll('.suggest-preview-text .view-line')];
      const now = [inline.map(plain).join(''), ...below.map(plain)].join('\n');
      if (seen.at(-1) !== now) seen.push(now);
      requestAnimationFrame(look);
    };
    look();
  });
}

function seen(e) {
  return e.page.evaluate(() => {
    const ghosts = window.fimdGhosts;
    window.fimdGhosts = undefined;
    return ghosts.slice(1); // without the frame from before
  });
}

export default [
  {
    name: 'growing while it is written',
    files: { 'main.py': `${listing}|` },
    settings: { 'editor.autoIndent': 'none' },
    async run(e, start) {
      for (const typed of tries) {
        const since = await afresh(e, start);
        slow(200);
        try {
          await e.type(typed);
          await e.waitText(start + typed);
          await watch(e);
          await e.wait('the whole', () => lastAnswer(e, since)?.answered, 30_000);
          const pieces = new Set(e.wire.offers(since).map((text) => text.trim().split('\n').length));
          if (pieces.size < 3) continue;
          slow(0);
          const offer = await ghost(e, since);
          const frames = await seen(e);
          const ghosts = frames.slice(frames.findIndex((shown) => shown !== ''));
          assert.ok(ghosts.length >= 3, `not in steps: ${JSON.stringify(ghosts)}`);
          ghosts.reduce((shorter, longer) => {
            assert.ok(longer.startsWith(shorter), `flicker: ${JSON.stringify(ghosts)}`);
            return longer;
          });
          await e.press('Tab');
          await e.waitText(offer.after);
          return;
        } finally {
          slow(0);
        }
      }
      assert.fail('no suggestion of three lines');
    },
  },
  {
    name: 'dismissed while it is written',
    files: { 'main.py': `${listing}|` },
    settings: { 'editor.autoIndent': 'none' },
    async run(e, start) {
      const since = e.wire.mark();
      slow(300);
      try {
        await e.type(tries[0]);
        await e.waitGhost('its beginning');
        await e.press('Escape');
        await e.waitNoGhost();
        await settle(e, since);
        assert.equal(await e.ghost(), null, 'it came back');
        assert.equal(await e.save(), `${start}${tries[0]}`);
      } finally {
        slow(0);
      }
    },
  },
  {
    name: 'typing past it while extensions are busy',
    files: { 'main.py': `${listing}|` },
    settings: { 'editor.autoIndent': 'none' },
    async run(e, start) {
      // VS Code's question after the key waits beside the next step of what grows.
      let typedPast = 0;
      for (let i = 0; i < 6; ++i) {
        const since = await afresh(e, start);
        slow(40);
        try {
          const typed = tries[i % tries.length].replace('(', `_${i}(`);
          await e.type(typed);
          await e.wait('an answer', async () => (await e.ghost()) || lastAnswer(e, since)?.answered);
          if (!(await e.ghost())) continue; // the model had nothing to say
          await sleep((i * 13) % 60);
          const busy = e.probe.call('busy', { ms: 250 });
          await e.type('#');
          await busy;
          const text = `${start}${typed}#`;
          await e.waitText(text);
          await e.wait('the question after a key', () => {
            return offsetOf(text, lastAnswer(e, since).params.position) === text.length;
          });
          ++typedPast;
        } finally {
          slow(0);
        }
      }
      assert.ok(typedPast > 0, 'nothing was ever shown');
    },
  },
];
