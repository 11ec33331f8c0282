// Tells the daemon which suggestions were shown and accepted, with the methods that Copilot's
// server introduced.
import * as vscode from 'vscode';
import { type InlineCompletionItem } from 'vscode-languageclient/node';
import type { Client } from '../client';
import { acceptedLength, type Offer } from './offered';
import { type Items, textOf } from './stream';

interface Offered {
  uri: string;
  offers: Offer<InlineCompletionItem>[];
}

export class Feedback implements vscode.Disposable {
  readonly #client: Client;
  readonly #listener: vscode.Disposable;
  #offered: Offered | undefined;
  #told: unknown; // the id of the suggestion that the daemon was told of last

  constructor(client: Client) {
    this.#client = client;
    this.#listener = vscode.workspace.onDidChangeTextDocument((event) => this.#changed(event));
  }

  dispose(): void {
    this.#listener.dispose();
  }

  /** These items go to VS Code, which shows the first one; not `complete`: it will grow. */
  shown(document: vscode.TextDocument, items: Items, complete: boolean): void {
    const offers = items.flatMap((item) =>
      item.range
        ? [{ item, text: textOf(item), line: item.range.start.line, character: item.range.start.character }]
        : [],
    );
    this.#offered = { uri: document.uri.toString(), offers };
    const item = items[0];
    const id: unknown = item?.command?.arguments?.[0];
    if (!complete && id === this.#told) return;
    this.#told = id;
    if (item) void this.#client.running?.sendNotification('textDocument/didShowCompletion', { item });
  }

  #changed(event: vscode.TextDocumentChangeEvent): void {
    const [change, more] = event.contentChanges;
    const document = event.document;
    if (!this.#offered || !change || more || this.#offered.uri !== document.uri.toString()) return;
    const end = document.positionAt(change.rangeOffset + change.text.length);
    for (const { item, text, line, character } of this.#offered.offers) {
      const begin = new vscode.Position(line, character);
      if (end.isBefore(begin)) continue;
      const insertion = {
        text: document.getText(new vscode.Range(begin, end)),
        length: change.text.length - change.rangeLength,
      };
      const length = acceptedLength(text, insertion);
      if (length === undefined) continue;
      void this.#client.running?.sendNotification('textDocument/didPartiallyAcceptCompletion', {
        item,
        acceptedLength: length,
      });
      return;
    }
  }
}
