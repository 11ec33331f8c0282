// Proposed edits, shown as a diff before anything changes: each hunk is accepted or rejected, and what
// was accepted is applied as one edit once all is decided. The diff's right side is what would be applied.
import * as path from 'node:path';
import * as vscode from 'vscode';
import { applyHunks, type Hunk, hunkAt, makeHunks, placesAfter } from './hunks';
import { splitLines } from './lines';

export const scheme = 'fimd-proposal';

export interface Edit {
  title: string;
  range: vscode.Range;
  newText: string;
}

interface Proposal {
  document: vscode.Uri;
  title: string;
  before: string;
  hunks: Hunk[];
  left: vscode.Uri;
  right: vscode.Uri;
}

export class Proposals implements vscode.TextDocumentContentProvider, vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.#changed.event;
  readonly #shown = new vscode.EventEmitter<void>();
  /** A proposal was opened, decided on or closed. */
  readonly onDidUpdate = this.#shown.event;
  readonly #open = new Map<string, Proposal>(); // by the path of the right side
  readonly #registrations: vscode.Disposable[];
  #count = 0;

  constructor() {
    this.#registrations = [
      vscode.workspace.registerTextDocumentContentProvider(scheme, this),
      vscode.window.tabGroups.onDidChangeTabs(({ closed }) => this.#tabsClosed(closed)),
    ];
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    for (const proposal of this.#open.values()) {
      if (uri.path === proposal.left.path) return proposal.before;
      if (uri.path === proposal.right.path) return applied(proposal);
    }
    return '';
  }

  /** Shows what an edit would change. Returns false if it changes nothing. */
  async show(document: vscode.TextDocument, edit: Edit): Promise<boolean> {
    const before = document.getText();
    const begin = document.offsetAt(edit.range.start);
    const end = document.offsetAt(edit.range.end);
    const lineBreak = document.eol === vscode.EndOfLine.CRLF ? '\r\n' : '\n';
    const newText = edit.newText.replace(/\r?\n/g, lineBreak);
    const hunks = makeHunks(before, before.slice(0, begin) + newText + before.slice(end), 0);
    if (hunks.length === 0) return false;
    const name = path.basename(document.uri.path);
    const side = (which: string): vscode.Uri =>
      vscode.Uri.from({ scheme, path: `/${this.#count}/${which}/${name}` });
    ++this.#count;
    const proposal = {
      document: document.uri,
      title: edit.title,
      before,
      hunks,
      left: side('before'),
      right: side('after'),
    };
    this.#open.set(proposal.right.path, proposal);
    const hint = hunks.length === 1 ? '1 change' : `${hunks.length} changes`;
    await vscode.commands.executeCommand(
      'vscode.diff',
      proposal.left,
      proposal.right,
      `${edit.title}: ${name} (${hint})`,
      { preview: false },
    );
    this.#reveal(proposal);
    this.#shown.fire();
    return true;
  }

  /** The hunks of the proposal that this document is a side of. */
  hunksOf(uri: vscode.Uri): readonly Hunk[] {
    if (uri.scheme !== scheme) return [];
    const proposals = [...this.#open.values()];
    return proposals.find(({ left, right }) => [left.path, right.path].includes(uri.path))?.hunks ?? [];
  }

  /** The hunks of the proposal that this document is the right side of, with their places. */
  placesIn(uri: vscode.Uri): ReturnType<typeof placesAfter> {
    const proposal = uri.scheme === scheme ? this.#open.get(uri.path) : undefined;
    return proposal ? placesAfter(proposal.hunks) : [];
  }

  /** Decides on the hunk at the cursor; applies what was accepted when it was the last one. */
  async decide(verdict: 'accepted' | 'rejected'): Promise<void> {
    const proposal = this.#active();
    const line = vscode.window.activeTextEditor?.selection.active.line ?? 0;
    const hunk = proposal && hunkAt(proposal.hunks, line);
    if (!proposal || !hunk) return;
    hunk.verdict = verdict;
    this.#changed.fire(proposal.right);
    if (proposal.hunks.some((other) => other.verdict === 'open')) {
      this.#reveal(proposal);
      this.#shown.fire();
    } else {
      await this.#finish(proposal);
    }
  }

  /** Applies all hunks that were not rejected. */
  async applyRest(): Promise<void> {
    const proposal = this.#active();
    if (proposal) await this.#finish(proposal);
  }

  async discard(): Promise<void> {
    const proposal = this.#active();
    if (proposal) await this.#close(proposal);
  }

  dispose(): void {
    for (const registration of this.#registrations) registration.dispose();
    this.#changed.dispose();
    this.#shown.dispose();
  }

  #active(): Proposal | undefined {
    const input = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
    return input instanceof vscode.TabInputTextDiff ? this.#open.get(input.modified.path) : undefined;
  }

  async #finish(proposal: Proposal): Promise<void> {
    const document = await vscode.workspace.openTextDocument(proposal.document);
    const chosen = proposal.hunks.filter((hunk) => hunk.verdict !== 'rejected');
    if (chosen.length > 0) {
      const name = path.basename(proposal.document.path);
      if (document.getText() !== proposal.before) {
        const message = `fimd: ${name} changed while the proposal was open. Nothing was applied; ask again.`;
        void vscode.window.showWarningMessage(message);
        return;
      }
      const edit = new vscode.WorkspaceEdit();
      for (const { begin, end, added } of chosen) {
        edit.replace(proposal.document, new vscode.Range(begin, 0, end, 0), added.join(''));
      }
      if (!(await vscode.workspace.applyEdit(edit))) {
        void vscode.window.showErrorMessage(`fimd: ${name} cannot be changed.`);
        return;
      }
    }
    await this.#close(proposal);
    if (chosen.length > 0) await vscode.window.showTextDocument(document);
  }

  async #close(proposal: Proposal): Promise<void> {
    this.#open.delete(proposal.right.path);
    const tabs = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
    const ours = tabs.filter(
      ({ input }) => input instanceof vscode.TabInputTextDiff && input.modified.path === proposal.right.path,
    );
    await vscode.window.tabGroups.close(ours);
    this.#shown.fire();
  }

  #tabsClosed(closed: readonly vscode.Tab[]): void {
    for (const { input } of closed) {
      if (input instanceof vscode.TabInputTextDiff) this.#open.delete(input.modified.path);
    }
  }

  /** Puts the cursor on the first hunk that is still open. */
  #reveal(proposal: Proposal): void {
    const editor = vscode.window.visibleTextEditors.find(
      ({ document }) => document.uri.toString() === proposal.right.toString(),
    );
    const first = placesAfter(proposal.hunks).find(({ hunk }) => hunk.verdict === 'open');
    if (!editor || !first) return;
    const position = new vscode.Position(first.begin, 0);
    editor.selection = new vscode.Selection(position, position);
    editor.revealRange(new vscode.Range(position, position), vscode.TextEditorRevealType.InCenterIfOutsideViewport);
  }
}

function applied({ before, hunks }: Proposal): string {
  return applyHunks(splitLines(before), hunks).join('');
}
