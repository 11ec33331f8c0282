// Ghost text: when it appears, what it is, how it follows the keys, and what accepting it leaves behind.
import assert from 'node:assert/strict';
import { ghost, lastAnswer, settle } from './lib/harness.mjs';
import { inlineCompletion } from './lib/wire.mjs';

const stack = `class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        |
`;

const folder = `import os

def list_files(folder):
    names = []
    for name in os.listdir(folder):
        names.append(name)
    return names

|`;

/** Starts to note the ghost text of every frame that the browser draws. */
function watchFrames(e) {
  return e.page.evaluate(() => {
    window.fimdFrames = [];
    const look = () => {
      const spans = document.querySelectorAll('.view-lines [class*="ghost-text-decoration"]');
      window.fimdFrames?.push([...spans].map((s) => s.textContent.replace(/\u00a0/g, ' ')).join(''));
      if (window.fimdFrames) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
}

function framesSeen(e) {
  return e.page.evaluate(() => {
    const frames = window.fimdFrames;
    window.fimdFrames = undefined;
    return frames;
  });
}

export default [
  {
    name: 'typing brings ghost text, Tab accepts it',
    files: { 'main.py': stack },
    async run(e, start) {
      const since = e.wire.mark();
      await e.type('return self.');
      const offer = await ghost(e, since);
      assert.equal((await e.state()).version > 1, true);
      await e.session.page.screenshot({ path: e.picture('ghost') });
      await e.press('Tab');
      await e.waitText(offer.after);
      assert.equal(await e.save(), offer.after, 'the saved file');
      assert.ok(offer.after.startsWith(start.trimEnd()), 'nothing before the cursor changed');
    },
  },
  {
    name: 'typing through it',
    files: { 'main.py': stack },
    async run(e) {
      const since = e.wire.mark();
      await e.type('return self.');
      const offer = await ghost(e, since);
      assert.ok(offer.offered.length > 4, `too short to type through: ${offer.offered}`);
      await watchFrames(e);
      for (let i = 1; i <= 4; ++i) {
        await e.type(offer.offered[i - 1]);
        await e.wait(`the rest after ${i} keys`, async () => (await e.ghost()) === offer.ghost.slice(i));
      }
      await settle(e, since);
      const frames = await framesSeen(e);
      assert.ok(frames.length > 0, 'no frames seen');
      assert.deepEqual(
        frames.filter((frame) => !offer.ghost.endsWith(frame) || frame === ''),
        [],
        `flicker: frames without the rest of ${JSON.stringify(offer.ghost)}`,
      );
      await e.press('Tab');
      await e.waitText(offer.after);
    },
  },
  {
    name: 'typing something else takes it away at once',
    files: { 'main.py': stack },
    async run(e, start) {
      await e.type('return self.');
      const offer = await ghost(e);
      await e.type('zq');
      await e.wait('another ghost text, or none', async () => {
        const now = await e.ghost();
        return now === null || !offer.ghost.endsWith(now);
      });
      await e.waitText(start.replace(/\n$/, 'return self.zq\n'));
    },
  },
  {
    name: 'accepting by word and by line',
    files: { 'main.py': folder },
    async run(e, start) {
      const since = e.wire.mark();
      await e.type('for name in ');
      const offer = await ghost(e, since);
      await e.press('Control+ArrowRight');
      const word = await e.wait('one word more', async () => {
        const text = await e.text();
        return text !== `${start}for name in ` && text;
      });
      assert.ok(offer.after.startsWith(word) && word !== offer.after, `not a part: ${word}`);
      assert.match(word.slice(start.length + 12), /^\s*\w+$/, 'one word');
      await e.wait('the rest', async () => offer.after.startsWith(word + (await e.ghost())));
      await e.press('Control+ArrowRight', 'Tab');
      await e.waitText((text) => text.startsWith(offer.after.split('\n')[0]) || text.startsWith(start));
      await e.press('End', 'Enter');
      const before = await e.text();
      await e.type('print(');
      const next = await ghost(e);
      const line = next.offered.split('\n')[0];
      await e.press(e.keys.acceptLine);
      await e.wait('the line', async () => (await e.text()).includes(`print(${line}`));
      assert.ok((await e.text()).startsWith(before.trimEnd()), 'nothing before it changed');
    },
  },
  {
    name: 'cycling through several',
    files: { 'main.py': folder },
    async run(e) {
      const since = e.wire.mark();
      await e.type('files = ');
      const first = await ghost(e, since);
      await e.press(e.keys.trigger, e.keys.next);
      const second = await e.wait('another one', async () => {
        const now = await e.ghost();
        return now !== null && now !== first.ghost && now;
      });
      const invoked = e.wire
        .sent(inlineCompletion, since)
        .filter((m) => m.params.context.triggerKind === 1);
      assert.ok(invoked.length > 0, 'no request said that it was invoked');
      await e.press(e.keys.previous);
      await e.wait('the first one', async () => (await e.ghost()) === first.ghost);
      await e.press(e.keys.next);
      await e.wait('the second one', async () => (await e.ghost()) === second);
      const accepting = await ghost(e, since);
      await e.press('Tab');
      await e.waitText(accepting.after);
    },
  },
  {
    name: 'dismissing',
    files: { 'main.py': folder },
    async run(e, start) {
      await e.type('for name in ');
      await ghost(e);
      await e.press('Escape');
      await e.waitNoGhost();
      await settle(e);
      assert.equal(await e.ghost(), null, 'it came back');
      await e.press('Tab');
      await e.waitText((text) => /^for name in [ \t]+$/.test(text.slice(start.length)), 'a tab');
      await e.press('Backspace');
      await e.type('l');
      await ghost(e);
    },
  },
  {
    name: 'asked for explicitly',
    files: { 'main.py': folder },
    settings: { 'editor.inlineSuggest.enabled': false },
    async run(e, start) {
      const since = e.wire.mark();
      await e.type('for name in ');
      await e.waitText(`${start}for name in `);
      await e.wait('all changes at fimd', () =>
        e.wire.sent('textDocument/didChange', since).length >= 'for name in '.length);
      assert.deepEqual(e.wire.sent(inlineCompletion, since), [], 'nobody asked');
      await e.press(e.keys.trigger);
      const offer = await ghost(e, since);
      await e.press('Tab');
      await e.waitText(offer.after);
    },
  },
  {
    name: 'undo after accepting',
    files: { 'main.py': stack },
    async run(e, start) {
      await e.type('return self.');
      const offer = await ghost(e);
      await e.press('Tab');
      await e.waitText(offer.after);
      await e.press('Control+z');
      await e.waitText(start.replace(/\n$/, 'return self.\n'), 'one step back');
      await e.press('Control+y');
      await e.waitText(offer.after);
      // What was typed goes in the steps that VS Code chooses.
      const typed = start.replace(/\n$/, 'return self.\n');
      await e.press('Control+z');
      await e.wait('the text as it was', async () => {
        const text = await e.text();
        if (text === start) return true;
        assert.ok(text === offer.after || typed.startsWith(text.trimEnd()), `neither: ${text}`);
        await e.press('Control+z');
        return false;
      });
      assert.equal(await e.save(), start);
    },
  },
  {
    name: 'several lines',
    files: { 'main.py': 'def fibonacci(n):\n    """Return the first n Fibonacci numbers."""\n' },
    settings: { 'editor.autoIndent': 'none' },
    async run(e, start) {
      // How much the model says is its own affair: try until it is more than one line.
      const tries = [
        '    ',
        '    numbers = [0, 1]\n',
        '    if n == 0:',
        '    if n == 0:\n        return []\n    ',
        '    a, b = 0, 1\n    result = []\n    while len(result) < n:',
        '    if n <= 0:\n        return []\n    elif n == 1:',
        '    result = []\n    for i in range(n):\n        if i < 2:',
        '    try:',
        '    numbers = []\n    for i in range(n):',
        '    while len(numbers) < n:\n',
        '    return []\n\ndef lines(path):\n    with open(path) as file:',
      ];
      const said = [];
      for (const typed of tries) {
        await e.probe.call('command', { id: 'workbench.action.files.revert' });
        await e.waitText(start);
        await e.press('Control+End');
        const since = e.wire.mark();
        await e.type(typed);
        await e.waitText(start + typed);
        await e.wait('an answer', () => lastAnswer(e, since)?.answered);
        await settle(e, since);
        const offered = lastAnswer(e, since).items[0]?.insertText ?? '';
        said.push(offered);
        if (!offered.trimEnd().includes('\n')) continue;
        const offer = await ghost(e, since);
        assert.ok(offer.ghost.split('\n').length > 1, `drawn in one line: ${offer.ghost}`);
        await e.session.page.screenshot({ path: e.picture('several-lines-ghost') });
        await e.press('Tab');
        await e.waitText(offer.after);
        assert.equal(await e.save(), offer.after, 'the saved file');
        return;
      }
      assert.fail(`no suggestion of several lines: ${JSON.stringify(said)}`);
    },
  },
  {
    name: 'unicode and tabs',
    files: {
      'main.go': `package main

import "fmt"

func main() {
\tnaïve := "数据 😀"
\tfmt.Println(naïve)
\t|
}
`,
    },
    async run(e) {
      const since = e.wire.mark();
      await e.type('/* 😀é数 */ fmt.');
      const offer = await ghost(e, since);
      await e.press('Tab');
      await e.waitText(offer.after);
      assert.ok(offer.after.includes('\t/* 😀é数 */ fmt.'), offer.after);
      assert.equal(await e.save(), offer.after, 'the saved file');
    },
  },
  {
    name: 'in the middle of a line',
    files: { 'main.py': folder.replace('|', 'total = len(list_files(|)) + 1\n') },
    async run(e) {
      const since = e.wire.mark();
      await e.type('fol');
      const offer = await ghost(e, since);
      await e.press('Tab');
      await e.waitText(offer.after);
      assert.match(offer.after, /^total = len\(list_files\(fol.*\)\) \+ 1$/m, 'the line keeps its end');
    },
  },
  {
    name: 'brackets that the editor closed are not doubled',
    files: { 'main.py': 'values = [3, 1, 2]\n' },
    async run(e, start) {
      const since = e.wire.mark();
      await e.type('total = sum(');
      await e.waitText(`${start}total = sum()`, 'a bracket closed by the editor');
      const offer = await ghost(e, since);
      await e.press('Tab');
      await e.waitText(offer.after);
      const line = offer.after.split('\n')[1];
      const count = (c) => line.split(c).length - 1;
      assert.ok(count(')') <= count('('), `more closed than opened: ${line}`);
    },
  },
  {
    name: 'the suggest widget is open',
    files: { 'main.py': 'values = [3, 1, 2]\nvalley = 5\nprint(len(|' },
    settings: { 'editor.wordBasedSuggestions': 'currentDocument' },
    async run(e, start) {
      const widget = e.page.locator('.suggest-widget.visible');
      await e.type('val');
      await e.press('Control+Space');
      await widget.waitFor();
      // The chosen entry wins: Tab takes it, and ghost text never contradicts it.
      const chosen = widget.locator('.monaco-list-row.focused .label-name').first();
      await e.wait('a chosen entry', async () => (await chosen.count()) > 0);
      const label = await chosen.textContent();
      const shown = await e.ghost();
      if (shown !== null) assert.ok(`val${shown}`.startsWith(label), `${shown} beside ${label}`);
      await e.press('Tab');
      await widget.waitFor({ state: 'hidden' });
      await e.waitText((text) => text.startsWith(`${start}${label}`), 'the entry');
      const text = await e.text();
      await e.press('Escape');
      await e.type(',');
      await e.waitText((now) => now.startsWith(`${text.slice(0, start.length + label.length)},`));
    },
  },
  {
    name: 'several files',
    files: { 'main.py': stack, 'other.py': stack.replace('|', ''), 'third.go': 'package main\n\nfunc main() {\n' },
    async run(e, start) {
      await e.type('return self.');
      const first = await ghost(e);
      await e.open('other.py', start.length - 1);
      await e.waitNoGhost('no ghost text of the other file');
      const since = e.wire.mark();
      await e.type('item = self.');
      const second = await ghost(e, since);
      await e.press('Tab');
      await e.waitText(second.after);
      await e.open('third.go');
      await e.waitNoGhost('no ghost text of the other file');
      assert.equal(await e.probe.call('text', { path: e.path('main.py') }), start.replace(/\n$/, 'return self.\n'));
      await e.open('main.py', start.length - 1 + 'return self.'.length);
      await e.press(e.keys.trigger);
      const again = await ghost(e);
      await e.press('Tab');
      await e.waitText(again.after);
      assert.ok(first.after.length > 0);
      assert.equal(await e.probe.call('text', { path: e.path('other.py') }), second.after);
    },
  },
];
