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
  #opened = false;

  constructor(pages: Pages, title: string, document: vscode.Uri) {
    this.#pages = pages;
    this.#name = `${title} ${path.basename(document.path)}.md`;
  }

  /** Opens the view beside the code, unless it is open. */
  async open(): Promise<void> {
    if (this.#opened) return;
    this.#opened = true;
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
    void this.open();
    this.#text = text;
    this.#timer ??= setTimeout(() => this.#draw(), redrawMs);
  }

  async finish(text: string): Promise<void> {
    await this.open();
    this.#text = text;
    this.#draw();
  }

  /** Says at the end of what is there why there is no more. */
  fail(why: string): void {
    if (!this.#opened) return;
    this.#text += `\n\n*${why}*`;
    this.#draw();
  }

  #draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#pages.set(this.#name, this.#text);
  }
}
