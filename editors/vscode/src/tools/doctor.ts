import * as vscode from 'vscode';
import type { Client } from '../client';
import type { Pages } from './pages';
import { runProgram } from './run';

export async function runDoctor(client: Client, pages: Pages): Promise<void> {
  try {
    const output = await vscode.window.withProgress(
      { location: vscode.ProgressLocation.Notification, title: 'fimd doctor' },
      () => runProgram(client, ['doctor']),
    );
    await pages.show('doctor.txt', `${output.program} doctor\n\n${output.text}`);
  } catch (error) {
    await vscode.window.showErrorMessage(`fimd: ${error instanceof Error ? error.message : String(error)}`);
  }
}
