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

/** Somebody who waits for more than is shown. */
interface Waiter {
  shown: string;
  since: number;
  /** When what is there is to be shown. */
  due: number;
  timer: NodeJS.Timeout | undefined;
  resolve: (item: InlineCompletionItem | undefined) => void;
}

export class Stream {
  readonly uri: string;
  readonly version: number;
  readonly position: vscode.Position;
  /** All of the answer; undefined if the daemon gave it up for a newer request. */
  readonly whole: Promise<Items | undefined>;

  readonly #source = new vscode.CancellationTokenSource();
  #items: Items = [];
  #waiter: Waiter | undefined;
  #ended = false;

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
    const token = `fimd-inline-${++count}`;
    const progress = client.onProgress(partial, token, (value) => {
      this.#items = itemsOf(value);
      this.#consider();
    });
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
        this.#ended = true;
        progress.dispose();
        this.#tell(undefined);
      });
  }

  /**
   * The first item as soon as there is more of it than is shown, and it is worth showing; undefined
   * once all of the answer is there.
   */
  next(shown: string): Promise<InlineCompletionItem | undefined> {
    return new Promise((resolve) => {
      this.#tell(undefined);
      if (this.#ended) {
        resolve(undefined);
        return;
      }
      this.#waiter = { shown, since: Date.now(), due: Infinity, timer: undefined, resolve };
      this.#consider();
    });
  }

  /** Tells the daemon that nobody waits any more. */
  cancel(): void {
    this.#source.cancel();
  }

  #consider(): void {
    const waiter = this.#waiter;
    const item = this.#items[0];
    if (!waiter || !item) return;
    const now = Date.now();
    const wait = showAfterMs(textOf(item), waiter.shown, now - waiter.since);
    if (wait === undefined || now + wait >= waiter.due) return;
    waiter.due = now + wait;
    clearTimeout(waiter.timer);
    waiter.timer = setTimeout(() => {
      const newest = this.#items[0];
      if (newest) this.#tell({ ...newest, insertText: wholeLines(textOf(newest)) });
      else waiter.due = Infinity; // taken back meanwhile
    }, wait);
  }

  #tell(item: InlineCompletionItem | undefined): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    clearTimeout(waiter?.timer);
    waiter?.resolve(item);
  }
}
