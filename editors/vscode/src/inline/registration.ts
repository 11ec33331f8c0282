// A provider's registration that can be renewed without losing a question.
//
// VS Code notes whom it is going to ask when a key is pressed, and asks some time later: a provider that
// is gone by then is not asked, and none in its place. So a registration that was renewed lives on for a
// while. What VS Code asks through several is answered once, by the newest of them.
import { setTimeout as pause } from 'node:timers/promises';
import * as vscode from 'vscode';
import { documentSelector } from '../client_options';
import { isSamePlace, type Place, placeIn } from './place';

/** How long the one before is kept: many times what VS Code waits after a key. */
const retiredMs = 1000;
/** How far apart questions come that VS Code asks at once. */
const togetherMs = 10;

type Provider = vscode.InlineCompletionItemProvider;

export class Registration implements vscode.Disposable {
  readonly #provider: Provider;
  readonly #retired = new Map<vscode.Disposable, NodeJS.Timeout>();
  readonly #asked = new Map<number, Place>(); // where each was asked last
  #newest = 0;
  #current: vscode.Disposable;

  constructor(provider: Provider) {
    this.#provider = provider;
    this.#current = this.#register(this.#newest);
  }

  /** For VS Code this is another provider from now on. */
  renew(): void {
    const before = this.#current;
    const id = this.#newest;
    this.#current = this.#register(++this.#newest);
    const timer = setTimeout(() => {
      this.#retired.delete(before);
      this.#asked.delete(id);
      before.dispose();
    }, retiredMs);
    this.#retired.set(before, timer);
  }

  dispose(): void {
    this.#current.dispose();
    for (const [registration, timer] of this.#retired) {
      clearTimeout(timer);
      registration.dispose();
    }
    this.#retired.clear();
  }

  #register(id: number): vscode.Disposable {
    return vscode.languages.registerInlineCompletionItemProvider(documentSelector, {
      provideInlineCompletionItems: async (document, position, context, token) => {
        const place = placeIn(document, position);
        this.#asked.set(id, place);
        if (id !== this.#newest) {
          if (!this.#isAskedOfNewer(id, place)) await pause(togetherMs);
          if (token.isCancellationRequested || this.#isAskedOfNewer(id, place)) return undefined;
        }
        return this.#provider.provideInlineCompletionItems(document, position, context, token);
      },
    });
  }

  #isAskedOfNewer(id: number, place: Place): boolean {
    return [...this.#asked].some(([other, at]) => other > id && isSamePlace(at, place));
  }
}
