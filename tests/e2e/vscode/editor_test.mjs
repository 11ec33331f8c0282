// How the extension lives with the rest of the editor: status bar and menu, settings, and a daemon or client
// that dies.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { checkHistory, ghost } from './lib/harness.mjs';
import { waitFor } from './lib/wait.mjs';
import { inlineCompletion } from './lib/wire.mjs';

const stack = `class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        |
`;

function daemon() {
  const status = execFileSync(process.env.FIMD_E2E_BIN, ['status'], { encoding: 'utf8' });
  const pid = Number(/process (\d+)/.exec(status)?.[1]);
  assert.ok(pid > 0, `no process in: ${status}`);
  return pid;
}

async function menu(e, entry) {
  await e.page.locator('.statusbar-item[id*="fimd"] a').first().click();
  await e.pick(entry);
}

function waitStatus(e, wanted) {
  return e.wait(`"${wanted}" in the status bar`, async () => (await e.statusBar())?.includes(wanted));
}

/** Types, and checks that nobody asked fimd for anything. */
async function typesInPeace(e, text) {
  const since = e.wire.mark();
  const before = await e.text();
  await e.focus();
  await e.type(text);
  await e.wait('the typed text', async () => (await e.text()).length === before.length + text.length);
  assert.deepEqual(e.wire.sent(inlineCompletion, since), [], 'requests');
  assert.equal(await e.ghost(), null);
}

/** Types, and checks that there is ghost text again. */
async function suggests(e, text) {
  await e.focus();
  const since = e.wire.mark();
  await e.type(text);
  await ghost(e, since);
}

export default [
  {
    name: 'the status bar and its menu',
    files: { 'main.py': stack },
    async run(e) {
      await suggests(e, 'return self.');
      await waitStatus(e, 'fimd: Ready');
      await e.page.locator('.statusbar-item[id*="fimd"] a').first().click();
      const title = e.page.locator('.quick-input-widget .quick-input-title').first();
      await e.wait('the menu', async () => /fimd: Ready/.test(await title.textContent()));
      const rows = await e.page.locator('.quick-input-list .monaco-list-row').allTextContents();
      for (const entry of ['Switch off everywhere', 'in this workspace', 'language python', 'Snooze', 'model']) {
        assert.ok(rows.some((row) => row.includes(entry)), `${entry} in ${rows}`);
      }
      const hint = await e.page.locator('.quick-input-widget input').first().getAttribute('placeholder');
      assert.match(hint, /fimd-small.*cpu/, 'model and backend');
      await e.session.page.screenshot({ path: e.picture('menu') });
      await e.press('Escape');
    },
  },
  {
    name: 'switched off and on from the menu',
    files: { 'main.py': stack },
    async run(e) {
      await menu(e, 'Switch off everywhere');
      await waitStatus(e, 'Suggestions are off');
      await typesInPeace(e, 'return ');
      await menu(e, 'Switch on everywhere');
      await waitStatus(e, 'fimd: Ready');
      await e.wait('didOpen', () => e.known(e.path('main.py')));
      await suggests(e, 'self.');
      await e.configure({ 'fimd.enable': null });
    },
  },
  {
    name: 'switched off for a language and for the workspace',
    files: { 'main.py': stack, 'main.go': 'package main\n\nimport "fmt"\n\nfunc main() {\n\tname := "x"\n' },
    async run(e) {
      await menu(e, 'Switch off for the language python');
      await waitStatus(e, 'Off in this file');
      await typesInPeace(e, 'return ');
      await e.open('main.go', 53);
      await waitStatus(e, 'fimd: Ready');
      await suggests(e, '\tfmt.');
      await e.press('Escape');
      await e.probe.call('open', { path: e.path('main.py') });
      await menu(e, 'Switch on for the language python');
      await waitStatus(e, 'fimd: Ready');

      await menu(e, 'Switch off in this workspace');
      await waitStatus(e, 'Suggestions are off');
      const file = join(e.session.project, '.vscode/settings.json');
      assert.match(readFileSync(file, 'utf8'), /"fimd.enable": false/);
      await menu(e, 'Switch on in this workspace');
      await waitStatus(e, 'fimd: Ready');
      rmSync(file);
      await e.wait('didOpen', () => e.known(e.path('main.py')));
    },
  },
  {
    name: 'snoozed and woken up',
    files: { 'main.py': stack },
    async run(e) {
      await menu(e, 'Snooze');
      await e.pick('5 minutes');
      await waitStatus(e, 'Snoozed for another 5 min');
      await typesInPeace(e, 'return ');
      await menu(e, 'Wake up');
      await waitStatus(e, 'fimd: Ready');
      await e.wait('didOpen', () => e.known(e.path('main.py')));
      await suggests(e, 'self.');
    },
  },
  {
    name: 'fimd hears what was shown and accepted',
    files: { 'main.py': stack },
    async run(e) {
      const since = e.wire.mark();
      await e.type('return self.');
      const offer = await ghost(e, since);
      assert.ok(e.wire.sent('textDocument/didShowCompletion', since).length > 0, 'shown');
      await e.press('Control+ArrowRight');
      const part = await e.wait('a part', () =>
        e.wire.sent('textDocument/didPartiallyAcceptCompletion', since).at(-1));
      assert.ok(part.params.acceptedLength > 0 && part.params.acceptedLength < offer.offered.length);
      await e.wait('the rest', () => e.ghost());
      await e.press('Tab');
      await e.waitText(offer.after);
      await e.wait('the acceptance', () =>
        e.wire.sent('workspace/executeCommand', since).some((m) => m.params.command === 'fimd.accepted'));
    },
  },
  {
    name: 'the last prompt and the doctor',
    files: { 'main.py': stack },
    async run(e) {
      await suggests(e, 'return self.');
      await e.palette('fimd: Show the Last Prompt');
      await e.wait('the prompt', async () => /class Stack/.test((await e.state())?.text) && (await e.state()).scheme === 'fimd');
      await e.palette('fimd: Run the Doctor');
      const report = await e.wait('the report', async () => {
        const state = await e.state();
        return state?.path.endsWith('doctor.txt') && state.text;
      }, 60_000);
      assert.match(report, /fimd-small/);
    },
  },
  {
    name: 'the first steps',
    async run(e) {
      await e.palette('fimd: First Steps');
      await e.page.getByText('Install the program').first().waitFor();
      await e.page.getByText('See what goes on').first().waitFor();
    },
  },
  {
    name: 'the daemon is killed and the typing goes on',
    files: { 'main.py': stack },
    settings: { 'editor.autoIndent': 'none', 'editor.autoClosingBrackets': 'never', 'editor.autoClosingQuotes': 'never' },
    failuresExpected: true,
    async run(e, start) {
      const since = e.wire.mark();
      await e.type('return self.');
      await ghost(e, since);
      const before = daemon();
      process.kill(before, 'SIGKILL');
      const typed = 'size("x") + 3 + self.';
      await e.type(typed);
      await e.waitText(start.replace(/\n$/, `return self.${typed}\n`));
      // Another daemon is started and told everything; the next change brings ghost text again.
      await e.wait('ghost text from the new daemon', async () => {
        await e.type('i');
        await e.press('Backspace');
        // Time for an answer: the next key would take the ghost text away again.
        return waitFor('ghost text', () => e.ghost(), { timeout: 2000 }).catch(() => null);
      }, 60_000);
      await e.waitText(start.replace(/\n$/, `return self.${typed}\n`));
      assert.notEqual(daemon(), before, 'the same daemon');
      await ghost(e);
      await waitStatus(e, 'fimd: Ready');
    },
  },
  {
    name: 'the client is killed and comes back',
    files: { 'main.py': stack },
    settings: { 'editor.autoClosingBrackets': 'never' },
    failuresExpected: true,
    async run(e, start) {
      const since = e.wire.mark();
      await e.type('return ');
      await ghost(e, since);
      const before = e.wire.messages().at(-1).pid;
      const mark = e.wire.mark();
      process.kill(before, 'SIGKILL');
      await e.type('self.');
      await e.wait('another client', () => e.wire.messages().slice(mark).some((m) => m.pid !== before));
      await e.wait('didOpen', () => e.known(e.path('main.py')));
      await waitStatus(e, 'fimd: Ready');
      await suggests(e, 'it');
      await e.waitText(start.replace(/\n$/, 'return self.it\n'));
      await checkHistory(e, 'main.py', start, 'return self.it', since);
    },
  },
  {
    name: 'a missing program is said, with what to do',
    failuresExpected: true,
    files: { 'main.py': stack },
    async run(e) {
      const { globalValue } = await e.probe.call('setting', { name: 'fimd.path' });
      assert.ok(existsSync(globalValue));
      await e.configure({ 'fimd.path': '/nonexistent/fimd' });
      await waitStatus(e, 'fimd: Error');
      await e.wait('the message', async () =>
        (await e.notifications()).some((n) => n.text.includes('/nonexistent/fimd') && n.kind === 'error'));
      await e.session.page.screenshot({ path: e.picture('missing-program') });
      await e.configure({ 'fimd.path': globalValue });
      await waitStatus(e, 'fimd: Ready');
      await e.wait('didOpen', () => e.known(e.path('main.py')));
      await suggests(e, 'return self.');
    },
  },
];
