// The commands: explain, refactor, fix, document, review. The shipped model can only document; what needs
// a model that chats says so.
import assert from 'node:assert/strict';

const code = `def area(width, height):
    return width * height|


print(area(3, 4))
`;

/** Asks for a docstring, and waits for the diff that shows it. */
async function propose(e, start) {
  await e.palette('fimd: Document');
  await e.wait('the proposal', async () => (await e.state())?.scheme === 'fimd-proposal', 60_000);
  await e.page.locator('.monaco-diff-editor').first().waitFor();
  assert.equal(await e.probe.call('text', { path: e.path('main.py') }), start, 'nothing has changed yet');
  const { text } = await e.state();
  const kept = text.split('\n').filter((line) => !start.includes(line) || line === '');
  assert.ok(kept.join('').length > 0, `nothing proposed: ${text}`);
  return text;
}

async function back(e) {
  await e.wait('the file in front', async () => (await e.state())?.path === e.path('main.py'));
}

export default [
  {
    name: 'a documentation is proposed and accepted',
    files: { 'main.py': code },
    async run(e, start) {
      const proposed = await propose(e, start);
      await e.session.page.screenshot({ path: e.picture('proposal') });
      await e.focus();
      await e.press('Alt+Enter');
      await back(e);
      await e.waitText(proposed);
      assert.equal(await e.save(), proposed, 'the saved file');
      await e.focus();
      await e.press('Control+z');
      await e.waitText(start, 'one step back:');
    },
  },
  {
    name: 'a documentation is proposed and rejected',
    files: { 'main.py': code },
    async run(e, start) {
      await propose(e, start);
      await e.focus();
      await e.press('Alt+Backspace');
      await back(e);
      assert.equal(await e.text(), start);
    },
  },
  {
    name: 'a proposal is out of date',
    files: { 'main.py': code },
    async run(e, start) {
      await propose(e, start);
      await e.probe.call('open', { path: e.path('main.py'), at: start.length });
      await e.focus();
      await e.type('# more');
      await e.waitText(`${start}# more`);
      await e.press('Control+PageDown');
      await e.wait('the proposal', async () => (await e.state())?.scheme === 'fimd-proposal');
      await e.focus();
      await e.press('Control+Enter');
      await e.wait('a warning', async () =>
        (await e.notifications()).some((n) => /changed while/.test(n.text)));
      assert.equal(await e.probe.call('text', { path: e.path('main.py') }), `${start}# more`);
    },
  },
  ...['Explain', 'Review', 'Fix'].map((title) => ({
    name: `${title.toLowerCase()} needs a model that chats`,
    files: { 'main.py': code },
    failuresExpected: true,
    async run(e, start) {
      await e.palette(`fimd: ${title}`);
      // VS Code does not pop up many messages within a second, but lists them.
      await e.probe.call('command', { id: 'notifications.showList' });
      const reason = new RegExp(`^fimd: .*\`${title.toLowerCase()}\` needs an instruct model`);
      await e.wait('the message', async () =>
        (await e.notifications()).some((n) => n.kind === 'error' && reason.test(n.text)));
      assert.equal(await e.probe.call('text', { path: e.path('main.py') }), start);
    },
  })),
  {
    name: 'refactor asks what to do first',
    files: { 'main.py': code },
    async run(e, start) {
      const since = e.wire.mark();
      await e.palette('fimd: Refactor');
      const box = e.page.locator('.quick-input-widget input');
      await e.wait('the question', async () =>
        (await e.page.locator('.quick-input-message, .quick-input-title').allTextContents()).join().includes('What to change'));
      await box.press('Escape');
      await back(e);
      assert.deepEqual(e.wire.sent('workspace/executeCommand', since), []);
      assert.equal(await e.text(), start);
    },
  },
];
