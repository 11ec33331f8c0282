// A long answer as a Markdown preview beside the code, growing as it is written.
import * as path from 'node:path';
import * as vscode from 'vscode';
import type { Pages } from '../tools/pages';

/** The preview is redrawn at most this often. */
const redrawMs = 120;

export class AnswerView {
  readonly #pages: Pages;
  readonly #name: string;
  #text = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(pages: Pages, title: string, document: vscode.Uri) {
    this.#pages = pages;
    this.#name = `${title} ${path.basename(document.path)}.md`;
  }

  /** Opens the view beside the code, leaving the cursor where it is. */
  async open(): Promise<void> {
    const uri = this.#pages.set(this.#name, '*Reading …*');
    const document = await vscode.workspace.openTextDocument(uri); // keeps it while it grows
    try {
      await vscode.commands.executeCommand('markdown.showPreviewToSide', uri);
    } catch {
      // The built-in preview is switched off: the text itself will do.
      await vscode.window.showTextDocument(document, vscode.ViewColumn.Beside, true);
    }
  }

  update(text: string): void {
    this.#text = text;
    this.#timer ??= setTimeout(() => this.#draw(), redrawMs);
  }

  finish(text: string): void {
    this.#text = text;
    this.#draw();
  }

  #draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#pages.set(this.#name, this.#text);
  }
}
