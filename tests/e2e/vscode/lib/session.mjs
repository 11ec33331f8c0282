// code-server with the extension under test and the probe, and Chromium with one window of it.
import { spawn, execFile } from 'node:child_process';
import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Editor } from './editor.mjs';
import { Probe } from './probe.mjs';
import { waitFor } from './wait.mjs';
import { inlineCompletion, Wire } from './wire.mjs';

const run = promisify(execFile);

/** Nothing of the workbench that moves, calls home or gets between the tests and the extension. */
const quiet = {
  'chat.disableAIFeatures': true,
  'telemetry.telemetryLevel': 'off',
  'update.mode': 'none',
  'extensions.autoCheckUpdates': false,
  'extensions.ignoreRecommendations': true,
  'security.workspace.trust.enabled': false,
  'workbench.startupEditor': 'none',
  'workbench.enableExperiments': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'workbench.activityBar.location': 'hidden',
  'workbench.colorTheme': 'Default Dark Modern',
  'workbench.tips.enabled': false,
  'breadcrumbs.enabled': false,
  'git.enabled': false,
  'files.autoSave': 'off',
  'editor.wordBasedSuggestions': 'off',
  'editor.minimap.enabled': false,
  'editor.cursorBlinking': 'solid',
  'editor.fontFamily': "'DejaVu Sans Mono'",
  'editor.fontSize': 14,
  'editor.accessibilitySupport': 'off',
  'editor.detectIndentation': false,
};

const browserFlags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export class Session {
  /**
   * @param {{work: string, editors: string, extensions: string[], settings: object}} options
   *   work: a folder of the run; editors: where npm put code-server; extensions: .vsix files;
   *   settings: of the machine
   */
  constructor(options) {
    this.work = options.work;
    this.editors = options.editors;
    this.options = options;
    this.project = join(options.work, 'project');
    this.data = join(options.work, 'code-data');
    this.installed = join(options.work, 'code-extensions');
    this.environment = {
      ...process.env,
      EXTENSIONS_GALLERY: '{"serviceUrl":"","itemUrl":"","resourceUrlTemplate":""}',
      FIMD_PROBE_SOCKET: join(options.work, 'probe.sock'),
    };
    // A path in code-server's own environment changes how it starts.
    for (const name of ['VSCODE_IPC_HOOK_CLI', 'PORT', 'PASSWORD']) delete this.environment[name];
  }

  get #entry() {
    return join(this.editors, 'node_modules/code-server/out/node/entry.js');
  }

  get #folders() {
    return ['--user-data-dir', this.data, '--extensions-dir', this.installed];
  }

  async start() {
    mkdirSync(this.project, { recursive: true });
    this.#write('User/settings', quiet);
    // Settings of the machine where the files are, such as where a program is.
    this.#write('Machine/settings', this.options.settings);
    // VS Code has no keys of its own for some of these, and others do something else without ghost text.
    this.#write('User/keybindings', [
      { key: 'alt+\\', command: 'editor.action.inlineSuggest.trigger', when: 'editorTextFocus' },
      { key: 'alt+l', command: 'editor.action.inlineSuggest.commit', when: 'editorTextFocus' },
      { key: 'alt+w', command: 'editor.action.inlineSuggest.acceptNextWord', when: 'editorTextFocus' },
      { key: 'alt+e', command: 'editor.action.inlineSuggest.acceptNextLine', when: 'editorTextFocus' },
    ]);
    const install = this.options.extensions.flatMap((file) => ['--install-extension', file]);
    const { stdout, stderr } = await run(process.execPath, [this.#entry, ...this.#folders, ...install], {
      env: this.environment,
    });
    const installed = stdout.match(/was successfully installed/g)?.length ?? 0;
    if (installed !== this.options.extensions.length) {
      throw new Error(`code-server did not install the extensions: ${stdout}${stderr}`);
    }
    await this.#serve();
    await this.#browse();
  }

  #write(name, value) {
    const file = join(this.data, `${name}.json`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify(value, null, 2));
  }

  async #serve() {
    const log = createWriteStream(join(this.work, 'code-server.log'));
    this.server = spawn(
      process.execPath,
      [
        this.#entry,
        ...this.#folders,
        ...['--auth', 'none', '--bind-addr', '127.0.0.1:0', '--disable-telemetry'],
        ...['--disable-update-check', '--disable-workspace-trust', '--reconnection-grace-time', '2'],
      ],
      { env: this.environment, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
    );
    let output = '';
    for (const stream of [this.server.stdout, this.server.stderr]) {
      stream.on('data', (data) => {
        log.write(data);
        output += output.length < 1e5 ? data : '';
      });
    }
    const address = () => /listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(output)?.[1];
    this.address = await waitFor('code-server to listen', address, {
      timeout: 60_000,
      describe: () => output,
    });
  }

  async #browse() {
    const require = createRequire(join(this.editors, 'package.json'));
    const { chromium } = require('playwright-core');
    this.browser = await chromium.launch({
      executablePath: process.env.FIMD_E2E_CHROMIUM ?? '/usr/bin/chromium',
      args: browserFlags,
    });
    this.page = await this.browser.newPage({
      viewport: { width: 960, height: 600 },
      permissions: ['clipboard-read', 'clipboard-write'],
    });
    await this.page.goto(`${this.address}/?folder=${encodeURIComponent(this.project)}`);
    this.probe = new Probe(this.environment.FIMD_PROBE_SOCKET);
    await this.probe.connect();
    this.wire = new Wire(join(this.work, 'wire.jsonl'));
    this.editor = new Editor(this);
    await this.probe.call('command', { id: 'workbench.action.closeSidebar' });
    await this.#warmUp();
  }

  /** A provider that the extension has just registered is not asked at once: ask until it is. */
  async #warmUp() {
    const e = this.editor;
    e.folder = join(this.project, 'warm-up');
    e.write('start.py', 'def f():\n    ');
    await e.open('start.py', 13);
    await e.wait('the first request', async () => {
      await e.press(e.keys.trigger);
      return this.wire.sent(inlineCompletion).length > 0;
    });
    await e.wait('the first ghost text', () => e.ghost());
    await e.press('Escape');
    await this.probe.call('command', { id: 'workbench.action.closeAllEditors' });
  }

  /** Ends everything that was started, also after a failure in the middle. */
  async stop() {
    this.probe?.close();
    await this.page?.close().catch(() => {});
    await this.browser?.close().catch(() => {});
    if (this.server?.exitCode === null) {
      const ended = new Promise((resolve) => this.server.on('exit', resolve));
      const end = (signal) => {
        try {
          process.kill(-this.server.pid, signal);
        } catch {
          // It has ended by itself.
        }
      };
      end('SIGTERM');
      const timer = setTimeout(() => end('SIGKILL'), 5000);
      await ended;
      clearTimeout(timer);
    }
  }
}
