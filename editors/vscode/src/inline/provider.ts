// Ghost text: asks the daemon where VS Code asks for inline suggestions.
//
// VS Code takes one answer per question, so a suggestion that is still being written is shown in two
// steps: its first lines as soon as they are there, and then all of it. For the second step VS Code is
// told to show the "next" suggestion: it asks again and gets the whole text. The first lines stay on
// the screen meanwhile, and nothing happens if they were dismissed, accepted or typed past.
import * as vscode from 'vscode';
import type { Client } from '../client';
import { isAutomatic, isEnabled } from '../settings';
import type { Feedback } from './feedback';
import { type Items, Stream, textOf } from './stream';

/** How long an unfinished request waits for the next one, which may go on with its work. */
const abandonMs = 400;
const extendedKey = 'fimd.extended';

interface Extension {
  uri: string;
  version: number;
  position: vscode.Position;
  items: Items;
}

export class InlineProvider implements vscode.InlineCompletionItemProvider, vscode.Disposable {
  readonly #client: Client;
  readonly #feedback: Feedback;
  readonly #log: vscode.LogOutputChannel;
  readonly #streams = new Map<string, Stream>(); // the newest of each document
  #extension: Extension | undefined; // what the next question is to be answered with
  #extended = false;

  constructor(client: Client, feedback: Feedback, log: vscode.LogOutputChannel) {
    this.#client = client;
    this.#feedback = feedback;
    this.#log = log;
  }

  dispose(): void {
    for (const stream of this.#streams.values()) stream.cancel();
    this.#streams.clear();
  }

  async provideInlineCompletionItems(
    document: vscode.TextDocument,
    position: vscode.Position,
    context: vscode.InlineCompletionContext,
    token: vscode.CancellationToken,
  ): Promise<vscode.InlineCompletionItem[] | undefined> {
    const extension = this.#extension;
    if (extension && this.#isAt(extension, document, position)) {
      return this.#answer(document, extension.items);
    }
    const client = this.#client.running;
    const invoked = context.triggerKind === vscode.InlineCompletionTriggerKind.Invoke;
    if (!client || !this.#client.follows(document) || !isEnabled(document)) return undefined;
    if (!invoked && !isAutomatic(document)) return undefined;
    this.#setExtended(false);

    const uri = document.uri.toString();
    // The daemon ends the one before by itself, or goes on with it if the typing agrees with it.
    const stream = new Stream(client, document, position, context, this.#log);
    this.#streams.set(uri, stream);
    void stream.whole.then(() => {
      if (this.#streams.get(uri) === stream) this.#streams.delete(uri);
    });
    const abandoned = token.onCancellationRequested(() => this.#abandon(stream));
    try {
      // The text for an entry of the suggest widget is not asked for again.
      const oneStep = invoked || context.selectedCompletionInfo !== undefined;
      const early = oneStep ? undefined : await stream.early;
      const items = early ?? (await stream.whole) ?? [];
      if (token.isCancellationRequested) return undefined;
      if (early) void this.#extend(document, stream, early);
      return this.#answer(document, items);
    } finally {
      abandoned.dispose();
    }
  }

  #answer(document: vscode.TextDocument, items: Items): vscode.InlineCompletionItem[] | undefined {
    const converter = this.#client.running?.protocol2CodeConverter;
    if (!converter || items.length === 0) return undefined;
    this.#feedback.shown(document, items);
    return items.map((item) => {
      const converted = new vscode.InlineCompletionItem(textOf(item));
      if (item.range) converted.range = converter.asRange(item.range);
      if (item.filterText !== undefined) converted.filterText = item.filterText;
      if (item.command) converted.command = converter.asCommand(item.command);
      return converted;
    });
  }

  /** Shows all of a suggestion whose beginning is shown, once it is there. */
  async #extend(document: vscode.TextDocument, stream: Stream, early: Items): Promise<void> {
    const items = await stream.whole;
    const editor = vscode.window.activeTextEditor;
    if (!items || editor?.document !== document) return;
    const { uri, version, position } = stream;
    const extension = { uri, version, position, items };
    if (!this.#isAt(extension, document, editor.selection.active)) return;
    const [whole, shown] = [items[0], early[0]];
    if (!whole) {
      await vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
      return;
    }
    if (shown && textOf(whole) === textOf(shown)) return;
    this.#extension = extension;
    try {
      await vscode.commands.executeCommand('editor.action.inlineSuggest.showNext');
      this.#setExtended(true);
    } finally {
      if (this.#extension === extension) this.#extension = undefined;
    }
  }

  #isAt(place: Extension, document: vscode.TextDocument, position: vscode.Position): boolean {
    return (
      place.uri === document.uri.toString() &&
      place.version === document.version &&
      place.position.isEqual(position)
    );
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
