import { existsSync } from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as vscode from 'vscode';
import type { Client } from '../client';
import { runProgram } from './run';

/** Where `fimd doctor` says that the log is; the default place if it does not say. */
async function logPath(client: Client): Promise<string> {
  try {
    const { text } = await runProgram(client, ['doctor']);
    const line = /^-- +log +(\/.*?)(?: \(nothing written yet\))?$/m.exec(text);
    if (line?.[1]) return line[1];
  } catch {
    // No program: there may be a log of an earlier one.
  }
  const state = process.env.XDG_STATE_HOME;
  const base = state !== undefined && path.isAbsolute(state) ? state : path.join(os.homedir(), '.local/state');
  return path.join(base, 'fimd/daemon.log');
}

export async function showDaemonLog(client: Client): Promise<void> {
  const file = await logPath(client);
  if (!existsSync(file)) {
    await vscode.window.showInformationMessage(`fimd: the daemon has no log at ${file}.`);
    return;
  }
  const document = await vscode.workspace.openTextDocument(vscode.Uri.file(file));
  const editor = await vscode.window.showTextDocument(document, { preview: true });
  const end = document.lineAt(document.lineCount - 1).range.end;
  editor.revealRange(new vscode.Range(end, end));
}
