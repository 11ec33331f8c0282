// Lets shown ghost text grow while it is being written.
//
// VS Code takes one answer per question, and asks a provider again at the same place only for an
// explicit request, and only one that it has not asked yet. So for each step the registration is renewed,
// and VS Code told to show the "next" suggestion: it asks, gets the longer text, and goes over to it. What
// is shown stays on the screen meanwhile, and nothing happens if it was dismissed, accepted or typed past.
import * as vscode from 'vscode';
import { isSamePlace, type Place, placeIn } from './place';
import type { Registration } from './registration';
import { type Items, type Stream, textOf } from './stream';

/** VS Code before this did not tell providers apart: there, the second step is the last. */
const manyStepsSince = 110;

interface Step extends Place {
  items: Items;
  complete: boolean;
  taken: boolean;
}

export class Growth {
  readonly #registration: Registration;
  #step: Step | undefined;

  constructor(registration: Registration) {
    this.#registration = registration;
  }

  /** Whether VS Code's next question is one that this asked for. */
  get isAsking(): boolean {
    return this.#step !== undefined;
  }

  /** The items for a question at this place, if it is the one that this asked for. */
  take(document: vscode.TextDocument, position: vscode.Position): Readonly<Step> | undefined {
    const step = this.#step;
    if (!step || !isSamePlace(step, placeIn(document, position))) return undefined;
    step.taken = true;
    return step;
  }

  /**
   * Shows more of the stream's first item as it comes, `shown` being shown already. Returns whether
   * anything was added.
   */
  async follow(document: vscode.TextDocument, stream: Stream, shown: string): Promise<boolean> {
    const many = Number(vscode.version.split('.')[1] ?? 0) >= manyStepsSince;
    let grown = false;
    let text = shown;
    for (;;) {
      const longer = many ? await stream.next(text) : undefined;
      const items = longer ? [longer] : await stream.whole;
      if (!items || !isCurrent(document, stream)) return grown;
      const first = items[0];
      if (!first) {
        // The whole was not worth showing.
        await vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
        return grown;
      }
      // The last step has the final item, even if its text is what is shown.
      if (textOf(first) !== text) {
        if (!(await this.#show(stream, items, !longer))) {
          if (isCurrent(document, stream)) stream.cancel(); // dismissed: nobody waits for the rest
          return grown;
        }
        grown = true;
        text = textOf(first);
      }
      if (!longer) return grown;
    }
  }

  async #show({ uri, version, position }: Stream, items: Items, complete: boolean): Promise<boolean> {
    const step = { uri, version, position, items, complete, taken: false };
    this.#registration.renew();
    this.#step = step;
    try {
      await vscode.commands.executeCommand('editor.action.inlineSuggest.showNext');
      return step.taken;
    } finally {
      if (this.#step === step) this.#step = undefined;
    }
  }
}

/** Whether the cursor still is where the stream's question was asked. */
function isCurrent(document: vscode.TextDocument, stream: Stream): boolean {
  const editor = vscode.window.activeTextEditor;
  return editor?.document === document && isSamePlace(stream, placeIn(document, editor.selection.active));
}
