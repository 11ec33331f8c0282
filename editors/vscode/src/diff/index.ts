import * as vscode from 'vscode';
import { Proposals, scheme } from './proposals';

/** The diff of a proposed edit, its commands, and what its lines say. */
export function activate(context: vscode.ExtensionContext): Proposals {
  const proposals = new Proposals();
  const note = vscode.window.createTextEditorDecorationType({
    after: { color: new vscode.ThemeColor('editorCodeLens.foreground'), margin: '0 0 0 3em' },
  });

  const hint = vscode.window.createStatusBarItem('fimd.proposal', vscode.StatusBarAlignment.Left, -100);
  hint.name = 'fimd: proposal';
  hint.tooltip = 'Ctrl+Enter applies all changes that were not rejected';

  const draw = (editor: vscode.TextEditor): void => {
    const places = proposals.placesIn(editor.document.uri);
    const notes = places.map(({ hunk, begin }, index): vscode.DecorationOptions => {
      const which = places.length > 1 ? `${index + 1} of ${places.length}   ` : '';
      const keys = hunk.verdict === 'open' ? '✓ Alt+Enter   ✗ Alt+Backspace' : '✓ accepted';
      const line = editor.document.lineAt(Math.min(begin, editor.document.lineCount - 1));
      return { range: line.range, renderOptions: { after: { contentText: which + keys } } };
    });
    editor.setDecorations(note, notes);
  };
  const drawAll = (): void => {
    const active = vscode.window.activeTextEditor?.document.uri;
    const hunks = active ? proposals.hunksOf(active) : [];
    const open = hunks.filter(({ verdict }) => verdict === 'open').length;
    hint.text = `$(diff) ${open} of ${hunks.length} to decide: Alt+Enter accepts, Alt+Backspace rejects`;
    if (open > 0) hint.show();
    else hint.hide();
    vscode.window.visibleTextEditors.filter(({ document }) => document.uri.scheme === scheme).forEach(draw);
  };

  const register = vscode.commands.registerCommand;
  context.subscriptions.push(
    proposals,
    note,
    hint,
    vscode.window.onDidChangeActiveTextEditor(drawAll),
    proposals.onDidUpdate(drawAll),
    vscode.workspace.onDidChangeTextDocument(drawAll),
    vscode.window.onDidChangeVisibleTextEditors(drawAll),
    register('fimd.diff.acceptHunk', () => proposals.decide('accepted')),
    register('fimd.diff.rejectHunk', () => proposals.decide('rejected')),
    register('fimd.diff.apply', () => proposals.applyRest()),
    register('fimd.diff.discard', () => proposals.discard()),
  );
  return proposals;
}
