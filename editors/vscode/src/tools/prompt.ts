// Shows what the model was given, and how the suggestion came about.
import * as vscode from 'vscode';
import type { Client } from '../client';
import type { Pages } from './pages';

export async function showPrompt(client: Client, pages: Pages): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  const running = client.running;
  if (!editor || !running || !client.follows(editor.document)) {
    await vscode.window.showInformationMessage('fimd: put the cursor into a file that gets suggestions.');
    return;
  }
  const document = editor.document;
  const before = document.getText(new vscode.Range(new vscode.Position(0, 0), editor.selection.active));
  const result: unknown = await running.sendRequest('fimd/complete', {
    path: document.uri.fsPath,
    folder: vscode.workspace.getWorkspaceFolder(document.uri)?.uri.fsPath ?? '',
    languageId: document.languageId,
    text: document.getText(),
    offset: Buffer.byteLength(before, 'utf8'),
    explain: true,
  });
  await pages.show('prompt.json', JSON.stringify(result, null, 2));
}
