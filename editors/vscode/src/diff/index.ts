import * as vscode from 'vscode';
import { Proposals, scheme } from './proposals';

/** The diff of a proposed edit, its commands, and what its lines say. */
export function activate(context: vscode.ExtensionContext): Proposals {
  const proposals = new Proposals();
  const note = vscode.window.createTextEditorDecorationType({
    after: { color: new vscode.ThemeColor('editorCodeLens.foreground'), margin: '0 0 0 3em' },
  });

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
    vscode.window.visibleTextEditors.filter(({ document }) => document.uri.scheme === scheme).forEach(draw);
  };

  const register = vscode.commands.registerCommand;
  context.subscriptions.push(
    proposals,
    note,
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
