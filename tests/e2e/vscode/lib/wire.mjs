// What the spy wrote down: the messages between the extension and fimd.
import { closeSync, existsSync, openSync, readSync } from 'node:fs';

/** The method that asks for ghost text. */
export const inlineCompletion = 'textDocument/inlineCompletion';

export class Wire {
  #log;
  #at = 0;
  #partial = Buffer.alloc(0);
  #messages = [];

  constructor(log) {
    this.#log = log;
  }

  /** All messages so far: {from: 'editor' | 'fimd', pid, message}. */
  messages() {
    if (existsSync(this.#log)) {
      const file = openSync(this.#log, 'r');
      const piece = Buffer.alloc(1 << 20);
      for (let n; (n = readSync(file, piece, 0, piece.length, this.#at)) > 0; this.#at += n) {
        this.#partial = Buffer.concat([this.#partial, piece.subarray(0, n)]);
      }
      closeSync(file);
      for (let end; (end = this.#partial.indexOf(10)) >= 0; ) {
        this.#messages.push(JSON.parse(this.#partial.subarray(0, end).toString()));
        this.#partial = this.#partial.subarray(end + 1);
      }
    }
    return this.#messages;
  }

  /** A place in the log, to look only at what comes after it. */
  mark() {
    return this.messages().length;
  }

  /** The messages with this method since a mark. */
  sent(method, since = 0) {
    return this.messages()
      .slice(since)
      .filter((m) => m.message.method === method)
      .map((m) => m.message);
  }

  /** Requests of the editor with their answers: {method, params, items, error, answered}. */
  exchanges(since = 0) {
    const open = new Map();
    const list = [];
    const byToken = new Map();
    for (const { from, pid, message } of this.messages().slice(since)) {
      const key = `${pid}/${message.id}`;
      if (from === 'editor' && message.method && message.id !== undefined) {
        const exchange = { method: message.method, params: message.params, answered: false, items: [] };
        list.push(exchange);
        open.set(key, exchange);
        const token = message.params?.partialResultToken;
        if (token !== undefined) byToken.set(token, exchange);
      } else if (from === 'fimd' && message.method === '$/progress') {
        const items = message.params.value?.items ?? message.params.value;
        const exchange = byToken.get(message.params.token);
        if (exchange && Array.isArray(items)) exchange.items = items;
      } else if (from === 'fimd' && !message.method && open.has(key)) {
        const exchange = open.get(key);
        open.delete(key);
        exchange.answered = true;
        exchange.error = message.error;
        exchange.result = message.result;
        const items = message.result?.items ?? message.result;
        if (Array.isArray(items) && items.length > 0) exchange.items = items;
      }
    }
    return list;
  }

  /** Every text that was offered since a mark, streamed ones included. */
  offers(since = 0) {
    const texts = new Set();
    for (const { from, message } of this.messages().slice(since)) {
      if (from !== 'fimd') continue;
      const value = message.result ?? message.params?.value;
      const items = value?.items ?? value;
      if (!Array.isArray(items)) continue;
      for (const item of items) {
        const text = item?.insertText?.value ?? item?.insertText;
        if (typeof text === 'string') texts.add(text);
      }
    }
    return [...texts];
  }
}
