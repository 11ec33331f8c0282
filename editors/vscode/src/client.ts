// Runs `fimd lsp` and keeps it running: one language client at a time, started anew when the
// program ends, slower each time, and given up with a message when it ends again and again.
import * as os from 'node:os';
import * as vscode from 'vscode';
import { LanguageClient, State as ClientState } from 'vscode-languageclient/node';
import { findProgram, missingMessage, type Surroundings } from './binary';
import { clientOptions, ownFeatures } from './client_options';
import { config, daemonSettings } from './settings';
import { parseStatus, type Status } from './status/status';
import { isReport, type Report } from './tools/prompt_page';

const maxCrashes = 5; // within a minute
const minuteMs = 60_000;

/** Where a suggestion was asked for. */
export interface Question {
  document: vscode.TextDocument;
  version: number;
  position: vscode.Position;
}

export class Client implements vscode.Disposable {
  readonly #extension: vscode.ExtensionContext;
  readonly #log: vscode.LogOutputChannel;
  readonly #changed = new vscode.EventEmitter<Status>();
  readonly onDidChangeStatus = this.#changed.event;

  /** The newest question for a suggestion, and what the newest answer cost. */
  lastQuestion: Question | undefined;
  lastReport: Report | undefined;

  #status: Status = { state: 'off' };
  #wanted = false;
  #client: LanguageClient | undefined;
  #crashes: number[] = []; // times
  #timer: NodeJS.Timeout | undefined;
  #queue: Promise<void> = Promise.resolve();
  readonly #synced = new Set<string>(); // documents that the daemon was told of

  constructor(extension: vscode.ExtensionContext, log: vscode.LogOutputChannel) {
    this.#extension = extension;
    this.#log = log;
  }

  get status(): Status {
    return this.#status;
  }

  /** The client if it is up. */
  get running(): LanguageClient | undefined {
    return this.#client?.state === ClientState.Running ? this.#client : undefined;
  }

  /** Whether the daemon knows this document. */
  follows(document: vscode.TextDocument): boolean {
    return this.running !== undefined && this.#synced.has(document.uri.toString());
  }

  surroundings(): Surroundings {
    return {
      setting: config().get('path', ''),
      extension: this.#extension.extensionPath,
      pathVariable: process.env.PATH ?? '',
      home: os.homedir(),
    };
  }

  /** The program that is, or would be, run. */
  async program(): Promise<string | undefined> {
    return (await findProgram(this.surroundings()))?.path;
  }

  start(): Promise<void> {
    return this.#enqueue(async () => {
      if (this.#wanted) return;
      this.#wanted = true;
      this.#crashes = [];
      await this.#launch();
    });
  }

  stop(status: Status = { state: 'off' }): Promise<void> {
    return this.#enqueue(async () => {
      await this.#end();
      this.#set(status);
    });
  }

  /** Starts a new client; with `daemon`, the daemon anew too. */
  restart(daemon: boolean): Promise<void> {
    return this.#enqueue(async () => {
      if (daemon) {
        try {
          await this.running?.sendRequest('fimd/stop', {});
        } catch (error) {
          this.#log.debug(`fimd/stop: ${String(error)}`); // it may be gone before it answers
        }
      }
      await this.#end();
      this.#wanted = true;
      this.#crashes = [];
      await this.#launch();
    });
  }

  /** Sends the settings after they changed. */
  async sendSettings(): Promise<void> {
    await this.running?.sendNotification('workspace/didChangeConfiguration', {
      settings: { fimd: daemonSettings() },
    });
  }

  dispose(): void {
    void this.#end();
    this.#changed.dispose();
  }

  #enqueue(task: () => Promise<void>): Promise<void> {
    const next = this.#queue.then(task);
    this.#queue = next.catch((error: unknown) => {
      this.#log.error(String(error));
    });
    return this.#queue;
  }

  #set(status: Status): void {
    this.#status = status;
    this.#changed.fire(status);
  }

  async #end(): Promise<void> {
    this.#wanted = false;
    clearTimeout(this.#timer);
    const client = this.#client;
    this.#client = undefined;
    this.#synced.clear();
    try {
      await client?.dispose(2000);
    } catch (error) {
      this.#log.debug(`while ending: ${String(error)}`);
    }
  }

  async #launch(): Promise<void> {
    const found = await findProgram(this.surroundings());
    if (!this.#wanted) return;
    if (!found) {
      this.#wanted = false;
      const message = missingMessage(this.surroundings());
      this.#set({ state: 'error', message });
      this.#log.error(message);
      void this.#tell(
        message,
        ['Choose the Program…', 'fimd.choosePath'],
        ['Try Again', 'fimd.restart'],
        ['Help', 'fimd.help'],
      );
      return;
    }
    this.#log.info(`starting ${found.path} (${found.why})`);
    this.#set({ state: 'starting' });
    this.#synced.clear();
    const client = new LanguageClient(
      'fimd',
      'fimd',
      { command: found.path, args: ['lsp'] },
      clientOptions(this.#log, this.#synced),
    );
    client.registerFeature(ownFeatures);
    this.#client = client;
    let ended = false;
    const crashed = (why: string): void => {
      if (ended || this.#client !== client) return;
      ended = true;
      this.#crashed(why);
    };
    client.onNotification('fimd/status', (params: unknown) => {
      const status = parseStatus(params);
      if (status && this.#client === client) this.#set(status);
    });
    client.onNotification('fimd/report', (report: unknown) => {
      if (isReport(report)) this.lastReport = report;
    });
    client.onNotification('didChangeStatus', () => {
      // Says less than fimd/status.
    });
    client.onDidChangeState((change) => {
      if (change.newState === ClientState.Stopped) crashed('fimd ended');
    });
    try {
      await client.start();
      if (this.#status.state === 'starting') this.#set({ state: 'idle' });
    } catch (error) {
      crashed(`fimd did not start: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #crashed(why: string): void {
    const now = Date.now();
    this.#crashes = this.#crashes.filter((time) => now - time < minuteMs);
    this.#crashes.push(now);
    const count = this.#crashes.length;
    this.#client = undefined;
    this.#synced.clear();
    this.#log.warn(`${why} (${count} of ${maxCrashes} times within a minute)`);
    if (count >= maxCrashes) {
      this.#wanted = false;
      this.#set({ state: 'error', message: `${why} again and again` });
      void this.#tell(
        `${why} again and again.`,
        ['Restart', 'fimd.restart'],
        ['Show the Log', 'fimd.showLog'],
        ['Run the Doctor', 'fimd.doctor'],
      );
      return;
    }
    this.#set({ state: 'starting', message: why });
    this.#timer = setTimeout(
      () => {
        void this.#enqueue(async () => {
          if (this.#wanted && !this.#client) await this.#launch();
        });
      },
      250 * 2 ** (count - 1),
    );
  }

  async #tell(message: string, ...actions: [string, string][]): Promise<void> {
    const chosen = await vscode.window.showErrorMessage(
      `fimd: ${message}`,
      ...actions.map(([label]) => label),
    );
    const action = actions.find(([label]) => label === chosen);
    if (action) await vscode.commands.executeCommand(action[1]);
  }
}
