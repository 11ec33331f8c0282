// One window of VS Code: keys go in through the browser, its state comes out of the page (what is drawn)
// and of the probe (what the documents hold).
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { waitFor } from './wait.mjs';
import { inlineCompletion } from './wire.mjs';

export class Editor {
  constructor(session) {
    this.session = session;
    this.page = session.page;
    this.probe = session.probe;
    this.wire = session.wire;
    this.folder = session.project;
  }

  /** The keys of what has more than one; VS Code's own where it has any. */
  keys = {
    trigger: 'Alt+Backslash',
    next: 'Alt+BracketRight',
    previous: 'Alt+BracketLeft',
    accept: 'Alt+l',
    acceptWord: 'Alt+w',
    acceptLine: 'Alt+e',
  };

  /** Where another picture of the running test goes. */
  picture(name) {
    return join(this.pictures, `${name}.png`);
  }

  path(name) {
    return join(this.folder, name);
  }

  async describe() {
    const state = await this.probe.call('state').catch(String);
    const ghost = await this.ghost().catch(String);
    const bar = await this.statusBar().catch(String);
    const messages = JSON.stringify(await this.notifications().catch(String));
    const asked = JSON.stringify(this.wire.exchanges().filter((x) => x.method === inlineCompletion).slice(-3));
    return `editor: ${JSON.stringify(state)}, ghost: ${JSON.stringify(ghost)}, status: ${bar}, messages: ${messages}, last questions: ${asked}`;
  }

  wait(what, condition, timeout) {
    return waitFor(what, condition, { timeout, describe: () => this.describe() });
  }

  // ---- files

  write(name, text) {
    mkdirSync(dirname(this.path(name)), { recursive: true });
    writeFileSync(this.path(name), text);
  }

  /** Opens a file with the cursor at an offset, and waits until fimd knows it and keys reach it. */
  async open(name, at) {
    const path = this.path(name);
    await this.probe.call('open', { path, at });
    await this.wait(`${name} in front`, async () => (await this.state())?.path === path);
    await this.focus();
    await this.wait(`didOpen of ${name}`, () => this.known(path));
  }

  /** True if the client that runs now has opened the file. */
  known(path) {
    let known = false;
    for (const { from, message } of this.wire.messages()) {
      if (from !== 'editor') continue;
      if (message.method === 'initialize') known = false;
      if (decodeURIComponent(message.params?.textDocument?.uri ?? '') !== `file://${path}`) continue;
      if (message.method === 'textDocument/didOpen') known = true;
      if (message.method === 'textDocument/didClose') known = false;
    }
    return known;
  }

  /** Waits until keys go to this file. */
  focused(name) {
    const end = `/${name}`;
    return this.wait(`the keyboard in ${name}`, () =>
      this.page.evaluate((end) => {
        const editor = document.activeElement?.closest('.monaco-editor');
        return Boolean(editor?.getAttribute('data-uri')?.endsWith(end));
      }, end),
    );
  }

  async focus() {
    await this.probe.call('command', { id: 'workbench.action.focusActiveEditorGroup' });
    await this.wait('the keyboard in the editor', () =>
      this.page.evaluate(() => Boolean(document.activeElement?.closest('.monaco-editor'))),
    );
  }

  async save() {
    await this.page.keyboard.press('Control+s');
    await this.wait('a saved file', async () => !(await this.state()).dirty);
    return readFileSync((await this.state()).path, 'utf8');
  }

  // ---- keys

  /** Types as fast as the browser takes keys; line breaks and tabs are keys like others. */
  async type(text) {
    await this.page.keyboard.type(text);
  }

  async press(...keys) {
    for (const key of keys) await this.page.keyboard.press(key);
  }

  /** Runs a command the way a user does who knows its name. */
  async palette(title) {
    await this.press('F1');
    const box = this.page.locator('.quick-input-widget input');
    await box.waitFor({ state: 'visible' });
    await box.fill(`>${title}`);
    // The rows move while the list is being filtered: no click would be safe.
    const first = this.page.locator('.quick-input-list .monaco-list-row.focused').first();
    await this.wait(`the command ${title}`, async () => {
      const label = await first.textContent({ timeout: 1000 }).catch(() => '');
      return label.startsWith(title);
    });
    await box.press('Enter');
  }

  /** Chooses an entry of the open list by its text. */
  async pick(label) {
    const row = this.page
      .locator('.quick-input-widget .quick-input-list .monaco-list-row')
      .filter({ hasText: label })
      .first();
    await row.waitFor({ state: 'visible', timeout: 30_000 });
    await row.click();
  }

  // ---- what the documents hold

  state() {
    return this.probe.call('state');
  }

  async text() {
    return (await this.state())?.text;
  }

  waitText(expected, what = 'the text') {
    const wanted = typeof expected === 'string' ? (t) => t === expected : expected;
    const suffix = typeof expected === 'string' ? ` ${JSON.stringify(expected)}` : '';
    return this.wait(what + suffix, async () => wanted((await this.text()) ?? ''));
  }

  configure(settings) {
    return this.probe.call('configure', { settings });
  }

  // ---- what is drawn

  /** The ghost text on the screen, or null. */
  ghost() {
    return this.page.evaluate(() => {
      const editor =
        document.querySelector('.editor-group-container.active .monaco-editor') ??
        document.querySelector('.monaco-editor');
      if (!editor) return null;
      const plain = (element) => element.textContent.replace(/\u00a0/g, ' ').replace(/[\u200b\u200c]/g, '');
      const inline = [...editor.querySelectorAll('.view-lines [class*="ghost-text-decoration"]')];
      const below = [...editor.querySelectorAll('.view-zones .suggest-preview-text .view-line')];
      const lines = below.length ? below : [...editor.querySelectorAll('.suggest-preview-text .view-line')];
      if (inline.length === 0 && lines.length === 0) return null;
      return [inline.map(plain).join(''), ...lines.map(plain)].join('\n');
    });
  }

  waitGhost(what = 'ghost text', timeout) {
    return this.wait(what, () => this.ghost(), timeout);
  }

  waitNoGhost(what = 'no ghost text') {
    return this.wait(what, async () => (await this.ghost()) === null);
  }

  /** The text of fimd's status bar item with its icon's name, or null. */
  statusBar() {
    return this.page.evaluate(() => {
      const items = [...document.querySelectorAll('.statusbar-item')];
      const item = items.find((i) => /fimd/i.test(i.id + i.getAttribute('aria-label')));
      return item ? `${item.getAttribute('aria-label')} ${item.innerHTML.match(/codicon-[a-z-]+/)?.[0] ?? ''}` : null;
    });
  }

  /** The messages in the corner of the window, or in the list of them if that is open. The page may keep
   * the last rows of a closed list. */
  notifications() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll('.notification-list-item')]
        .filter((item) => item.checkVisibility())
        .map((item) => ({
          kind: item.innerHTML.match(/codicon-(error|warning|info)/)?.[1],
          text: item.querySelector('.notification-list-item-message')?.textContent ?? item.textContent,
        })),
    );
  }
}
