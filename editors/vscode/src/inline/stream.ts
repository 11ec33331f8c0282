// One request to the daemon, whose answer arrives in pieces.
import * as vscode from 'vscode';
import {
  type InlineCompletionItem,
  type InlineCompletionList,
  type LanguageClient,
  LSPErrorCodes,
  ProgressType,
  ResponseError,
} from 'vscode-languageclient/node';
import { showAfterMs, wholeLines } from './part';

export type Items = InlineCompletionItem[];

const method = 'textDocument/inlineCompletion';
const partial = new ProgressType<Items | InlineCompletionList>();
const quiet: number[] = [LSPErrorCodes.ContentModified, LSPErrorCodes.RequestCancelled];
let count = 0;

function itemsOf(value: Items | InlineCompletionList | null | undefined): Items {
  if (value === null || value === undefined) return [];
  return Array.isArray(value) ? value : value.items;
}

export function textOf(item: InlineCompletionItem): string {
  return typeof item.insertText === 'string' ? item.insertText : item.insertText.value;
}

export class Stream {
  readonly uri: string;
  readonly version: number;
  readonly position: vscode.Position;
  /** All of the answer; undefined if the daemon gave it up for a newer request. */
  readonly whole: Promise<Items | undefined>;
  /** Something worth showing before the whole is there; undefined if the whole came first. */
  readonly early: Promise<Items | undefined>;

  readonly #begin = Date.now();
  readonly #source = new vscode.CancellationTokenSource();
  #items: Items = [];
  #timer: NodeJS.Timeout | undefined;
  #due = Infinity; // when to show what is there
  #showEarly: (items: Items | undefined) => void = () => undefined;

  constructor(
    client: LanguageClient,
    document: vscode.TextDocument,
    position: vscode.Position,
    context: vscode.InlineCompletionContext,
    log: vscode.LogOutputChannel,
  ) {
    this.uri = document.uri.toString();
    this.version = document.version;
    this.position = position;
    this.early = new Promise((resolve) => {
      this.#showEarly = resolve;
    });
    const token = `fimd-inline-${++count}`;
    const progress = client.onProgress(partial, token, (value) => this.#take(itemsOf(value)));
    const params = client.code2ProtocolConverter.asInlineCompletionParams(document, position, context);
    this.whole = client
      .sendRequest<Items | InlineCompletionList | null>(
        method,
        {
          ...params,
          textDocument: { ...params.textDocument, version: document.version },
          partialResultToken: token,
        },
        this.#source.token,
      )
      .then(
        (answer) => {
          const items = itemsOf(answer);
          if (items.length > 0) this.#items = items;
          return answer === null ? undefined : this.#items;
        },
        (error: unknown) => {
          if (!(error instanceof ResponseError && quiet.includes(error.code))) {
            log.warn(`${method}: ${error instanceof Error ? error.message : String(error)}`);
          }
          return undefined;
        },
      )
      .finally(() => {
        clearTimeout(this.#timer);
        progress.dispose();
        this.#showEarly(undefined);
      });
  }

  /** Tells the daemon that nobody waits any more. */
  cancel(): void {
    this.#source.cancel();
  }

  #take(items: Items): void {
    this.#items = items;
    const first = items[0];
    const now = Date.now();
    const wait = first && showAfterMs(textOf(first), now - this.#begin);
    if (wait === undefined || now + wait >= this.#due) return;
    this.#due = now + wait;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const item = this.#items[0]; // the newest by now
      if (item) this.#showEarly([{ ...item, insertText: wholeLines(textOf(item)) }]);
      else this.#due = Infinity; // taken back
    }, wait);
  }
}
