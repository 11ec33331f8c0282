// Decides whether fimd runs in this window: it does unless it is off everywhere, or snoozed.
import * as vscode from 'vscode';
import type { Client } from './client';
import { concernsDaemon, isEnabled } from './settings';

const minuteMs = 60_000;

export class Switch implements vscode.Disposable {
  readonly #client: Client;
  readonly #listeners: vscode.Disposable[];
  #snoozedUntil = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(client: Client) {
    this.#client = client;
    this.#listeners = [
      vscode.workspace.onDidChangeConfiguration((event) => void this.#configured(event)),
      vscode.workspace.onDidOpenTextDocument(() => void this.apply()),
    ];
  }

  /** Minutes until suggestions come back; 0 if not snoozed. */
  get snoozedMinutes(): number {
    return Math.max(0, Math.ceil((this.#snoozedUntil - Date.now()) / minuteMs));
  }

  /** Starts or stops the client as the settings say. */
  async apply(): Promise<void> {
    if (this.snoozedMinutes > 0) return;
    const wanted = this.#isWanted();
    if (wanted && this.#client.status.state !== 'error') await this.#client.start();
    if (!wanted && this.#client.status.state !== 'off') await this.#client.stop();
  }

  async snooze(minutes: number): Promise<void> {
    clearInterval(this.#timer);
    this.#snoozedUntil = Date.now() + minutes * minuteMs;
    await this.#client.stop({ state: 'snoozed' });
    this.#timer = setInterval(() => {
      if (this.snoozedMinutes === 0) void this.wake();
      else void this.#client.stop({ state: 'snoozed' }); // the minutes shown
    }, minuteMs / 2);
  }

  async wake(): Promise<void> {
    clearInterval(this.#timer);
    this.#snoozedUntil = 0;
    await this.#client.stop();
    await this.apply();
  }

  /** Changes the setting; whoever switches on is not snoozed any more. */
  async change(on: boolean, set: (on: boolean) => Promise<void>): Promise<void> {
    if (on && this.snoozedMinutes > 0) await this.wake();
    await set(on);
  }

  /** Starts program and daemon anew. */
  async restart(): Promise<void> {
    if (this.snoozedMinutes > 0) await this.wake();
    else if (this.#isWanted()) await this.#client.restart(true);
    else void vscode.window.showInformationMessage('fimd is switched off.');
  }

  dispose(): void {
    clearInterval(this.#timer);
    for (const listener of this.#listeners) listener.dispose();
  }

  #isWanted(): boolean {
    return isEnabled() || vscode.workspace.textDocuments.some((document) => isEnabled(document));
  }

  async #configured(event: vscode.ConfigurationChangeEvent): Promise<void> {
    if (!event.affectsConfiguration('fimd')) return;
    if (event.affectsConfiguration('fimd.path') || event.affectsConfiguration('fimd.enable')) {
      // Which documents are followed is settled when they are opened: begin anew.
      if (this.snoozedMinutes === 0) {
        await this.#client.stop();
        await this.apply();
      }
    } else if (concernsDaemon(event)) {
      await this.#client.sendSettings();
    }
  }
}
