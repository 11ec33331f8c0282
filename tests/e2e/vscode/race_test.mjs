// Things that happen at the same time. Whatever the order, a document must hold what was typed and what was
// accepted, as if there were no fimd and the user had pasted the accepted texts.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkHistory, ghost, settle } from './lib/harness.mjs';

const code = `import os

def list_files(folder):
    names = []
    for name in os.listdir(folder):
        names.append(name)
    return names

`;

/** Nothing that VS Code types by itself. */
const bare = {
  'editor.autoIndent': 'none',
  'editor.autoClosingBrackets': 'never',
  'editor.autoClosingQuotes': 'never',
  'editor.autoSurround': 'never',
  'editor.formatOnType': false,
  'editor.trimAutoWhitespace': false,
};

/** Once all keys have arrived and all answers, a ghost text must be one that fimd gave for this text. */
async function atRest(e, since) {
  await settle(e, since);
  if (await e.ghost()) await ghost(e, since);
}

export default [
  {
    name: 'typing faster than replies',
    files: { 'main.py': code },
    settings: bare,
    async run(e, start) {
      const since = e.wire.mark();
      let typed = 'for name in list_files("/tmp"):\n    print(name, os.path.getsize(name))\n';
      for (let i = 1; i <= 15; ++i) typed += `x${i} = ${i}\n`;
      await e.type(typed);
      await e.waitText(start + typed);
      await atRest(e, since);
      const accepted = await checkHistory(e, 'main.py', start, typed, since);
      assert.deepEqual(accepted, [], 'nothing was accepted');
      assert.equal(await e.save(), start + typed, 'the saved file');
    },
  },
  {
    name: 'accepting while replies are on their way',
    files: { 'main.py': code },
    settings: { ...bare, 'editor.tabCompletion': 'off' },
    async run(e, start) {
      const since = e.wire.mark();
      const line = 'for name in list_files(folder):\n    print(name)\nsizes = ';
      for (let i = 0; i < line.length; ++i) {
        await e.type(line[i]);
        // At changing distances from the reply: at once, in the middle, after it.
        await sleep((i * 13) % 60);
        if (i % 2 === 0) await e.press(e.keys.acceptWord);
        else if (i % 5 === 0) await e.press(e.keys.acceptLine);
        else if (i % 7 === 0) await e.press('Escape', e.keys.accept);
        else if (i % 3 === 0) await e.press(e.keys.accept);
      }
      await e.type('END');
      await e.waitText((text) => text.includes('END'), 'the last word');
      await atRest(e, since);
      const accepted = await checkHistory(e, 'main.py', start, `${line}END`, since);
      assert.ok(accepted.length > 0, 'nothing was accepted at all');
      assert.equal(await e.save(), await e.text());
    },
  },
  {
    name: 'accept and type in one go',
    files: { 'main.py': code },
    settings: bare,
    async run(e, start) {
      const since = e.wire.mark();
      await e.type('for name in ');
      const offer = await ghost(e, since);
      await Promise.all([e.press('Tab'), e.type('XYZ')]);
      await e.waitText(`${offer.after}XYZ`);
      const accepted = await checkHistory(e, 'main.py', start, 'for name in XYZ', since);
      assert.deepEqual(accepted, [offer.offered]);
    },
  },
  {
    name: 'a key and accept in one go',
    files: { 'main.py': code },
    settings: bare,
    async run(e, start) {
      const since = e.wire.mark();
      await e.type('for name in ');
      const offer = await ghost(e, since);
      const key = offer.offered[0];
      await Promise.all([e.type(key), e.press('Tab')]);
      // All of it, or what the editor had made of it by then; but nothing doubled.
      const before = `${start}for name in ${key}`;
      await e.waitText((text) => text.length > before.length && offer.after.startsWith(text));
      await checkHistory(e, 'main.py', start, `for name in ${key}`, since);
    },
  },
  {
    name: 'undo and redo storms',
    files: { 'main.py': code },
    settings: bare,
    async run(e, start) {
      const since = e.wire.mark();
      await e.type('for name in ');
      const offer = await ghost(e, since);
      await e.press('Tab');
      await e.waitText(offer.after);
      await e.type(' # one\ntwo\nthree');
      const final = `${offer.after} # one\ntwo\nthree`;
      await e.waitText(final);
      const many = (key) => Array(30).fill(key);
      for (let round = 0; round < 3; ++round) {
        await e.press(...many('Control+z'));
        await e.waitText(start, 'everything undone:');
        await e.press(...many('Control+y'));
        await e.waitText(final, 'everything redone:');
        await e.press('Control+z', 'Control+z', 'Control+y', 'Control+z', 'Control+y', 'Control+y', 'Control+y');
        await e.waitText(final, 'redone again:');
      }
      await e.press('End', 'Enter');
      await e.type('for x in ');
      await ghost(e, since);
      await atRest(e, since);
      assert.equal(await e.text(), `${final}\nfor x in `);
    },
  },
  {
    name: 'switching files while replies are on their way',
    files: { 'main.py': code, 'a.py': code, 'b.py': code },
    settings: bare,
    async run(e, start) {
      const since = e.wire.mark();
      const typed = { 'main.py': '', 'a.py': '', 'b.py': '' };
      for (const name of ['a.py', 'b.py']) await e.open(name, start.length);
      const names = Object.keys(typed);
      for (let round = 0; round < 5; ++round) {
        for (const [place, name] of names.entries()) {
          // The tabs are in the order in which they were opened.
          await e.press(`Alt+${place + 1}`);
          await e.wait(`${name} in front`, async () => (await e.state())?.path === e.path(name));
          await e.focused(name);
          await e.type(`v${round} = `);
          typed[name] += `v${round} = `;
          await sleep((round * 17 + place * 7) % 40);
        }
      }
      for (const name of names) {
        await e.wait(`what was typed in ${name}`, async () =>
          (await e.probe.call('text', { path: e.path(name) })) === start + typed[name]);
        assert.deepEqual(await checkHistory(e, name, start, typed[name], since), []);
      }
      await atRest(e, since);
    },
  },
];
