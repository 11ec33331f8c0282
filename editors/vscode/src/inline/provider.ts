// Ghost text: asks the daemon where VS Code asks for inline suggestions.
import * as vscode from 'vscode';
import type { Client } from '../client';
import { isAutomatic, isEnabled } from '../settings';
import type { Feedback } from './feedback';
import { Growth } from './growth';
import { Registration } from './registration';
import { type Items, Stream, textOf } from './stream';

/** How long an unfinished request waits for the next one, which may go on with its work. */
const abandonMs = 400;
/** While it is set, VS Code has asked for "all" suggestions only to let the shown one grow. */
const extendedKey = 'fimd.extended';

export class InlineProvider implements vscode.InlineCompletionItemProvider, vscode.Disposable {
  readonly #client: Client;
  readonly #feedback: Feedback;
  readonly #log: vscode.LogOutputChannel;
  readonly #registration: Registration;
  readonly #growth: Growth;
  readonly #streams = new Map<string, Stream>(); // the newest of each document
  readonly #listener: vscode.Disposable;
  #extended = false;

  constructor(client: Client, feedback: Feedback, log: vscode.LogOutputChannel) {
    this.#client = client;
    this.#feedback = feedback;
    this.#log = log;
    this.#registration = new Registration(this);
    this.#growth = new Growth(this.#registration);
    this.#listener = vscode.window.onDidChangeActiveTextEditor((editor) => {
      for (const stream of this.#streams.values()) {
        if (stream.uri !== editor?.document.uri.toString()) stream.cancel();
      }
    });
  }

  dispose(): void {
    this.#registration.dispose();
    this.#listener.dispose();
    for (const stream of this.#streams.values()) stream.cancel();
    this.#streams.clear();
  }

  async provideInlineCompletionItems(
    document: vscode.TextDocument,
    position: vscode.Position,
    context: vscode.InlineCompletionContext,
    token: vscode.CancellationToken,
  ): Promise<vscode.InlineCompletionItem[] | undefined> {
    const grown = this.#growth.take(document, position);
    if (grown) return this.#answer(document, grown.items, grown.complete);
    const client = this.#client.running;
    if (!client || !this.#client.follows(document) || !isEnabled(document)) return undefined;
    // A question that was meant to let ghost text grow, but came after a key, is like one after a key.
    const { Invoke, Automatic } = vscode.InlineCompletionTriggerKind;
    const invoked = context.triggerKind === Invoke && !this.#growth.isAsking;
    if (!invoked && !isAutomatic(document)) return undefined;
    this.#setExtended(false);

    const asked = { ...context, triggerKind: invoked ? Invoke : Automatic };
    // The daemon ends the one before by itself, or goes on with it if the typing agrees with it.
    const stream = new Stream(client, document, position, asked, this.#log);
    this.#streams.set(stream.uri, stream);
    this.#client.lastQuestion = { document, version: document.version, position };
    void stream.whole.then(() => {
      if (this.#streams.get(stream.uri) === stream) this.#streams.delete(stream.uri);
    });
    const abandoned = token.onCancellationRequested(() => this.#abandon(stream));
    try {
      // Several candidates, and the text for an entry of the suggest widget, are shown as they are.
      const oneStep = invoked || context.selectedCompletionInfo !== undefined;
      const early = oneStep ? undefined : await stream.next('');
      const items = early ? [early] : ((await stream.whole) ?? []);
      if (token.isCancellationRequested) return undefined;
      if (early) void this.#follow(document, stream, textOf(early));
      return this.#answer(document, items, !early);
    } finally {
      abandoned.dispose();
    }
  }

  #answer(
    document: vscode.TextDocument,
    items: Items,
    complete: boolean,
  ): vscode.InlineCompletionItem[] | undefined {
    const converter = this.#client.running?.protocol2CodeConverter;
    if (!converter || items.length === 0) return undefined;
    this.#feedback.shown(document, items, complete);
    return items.map((item) => {
      const converted = new vscode.InlineCompletionItem(textOf(item));
      if (item.range) converted.range = converter.asRange(item.range);
      if (item.filterText !== undefined) converted.filterText = item.filterText;
      if (item.command) converted.command = converter.asCommand(item.command);
      return converted;
    });
  }

  async #follow(document: vscode.TextDocument, stream: Stream, shown: string): Promise<void> {
    if (await this.#growth.follow(document, stream, shown)) this.#setExtended(true);
  }

  /** Cancels a request unless a newer one takes its place. */
  #abandon(stream: Stream): void {
    const timer = setTimeout(() => {
      if (this.#streams.get(stream.uri) === stream) stream.cancel();
    }, abandonMs);
    void stream.whole.then(() => clearTimeout(timer));
  }

  #setExtended(on: boolean): void {
    if (this.#extended === on) return;
    this.#extended = on;
    void vscode.commands.executeCommand('setContext', extendedKey, on);
  }
}
