// Shows what the model was given for the last suggestion, and what that cost.
import * as path from 'node:path';
import * as vscode from 'vscode';
import type { Client } from '../client';
import type { Pages } from './pages';
import { type Explanation, promptPage } from './prompt_page';

/** Where the last suggestion was asked for, if the document is as it was then; else the cursor. */
function place(client: Client): { document: vscode.TextDocument; position: vscode.Position } | undefined {
  const last = client.lastQuestion;
  if (last && !last.document.isClosed && last.document.version === last.version) return last;
  const editor = vscode.window.activeTextEditor;
  return editor && { document: editor.document, position: editor.selection.active };
}

export async function showPrompt(client: Client, pages: Pages): Promise<void> {
  const at = place(client);
  const running = client.running;
  if (!at || !running || !client.follows(at.document)) {
    void vscode.window.showInformationMessage('fimd: put the cursor into a file that gets suggestions.');
    return;
  }
  const { document, position } = at;
  try {
    const explanation = await running.sendRequest<Explanation>('fimd/prompt', {
      textDocument: running.code2ProtocolConverter.asTextDocumentIdentifier(document),
      position: running.code2ProtocolConverter.asPosition(position),
    });
    const name = `${path.basename(document.uri.path)}:${position.line + 1}:${position.character + 1}`;
    await pages.show('prompt.txt', promptPage(name, explanation, client.lastReport));
  } catch (error) {
    void vscode.window.showErrorMessage(`fimd: ${error instanceof Error ? error.message : String(error)}`);
  }
}
