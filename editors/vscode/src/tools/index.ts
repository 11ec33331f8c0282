import * as vscode from 'vscode';
import type { Client } from '../client';
import { runDoctor } from './doctor';
import { showDaemonLog } from './log';
import { choosePath, pickModel } from './model';
import type { Pages } from './pages';
import { showPrompt } from './prompt';

/** Commands that show what fimd does, and choose what it runs. */
export function activate(
  context: vscode.ExtensionContext,
  client: Client,
  pages: Pages,
  log: vscode.LogOutputChannel,
): void {
  const register = vscode.commands.registerCommand;
  context.subscriptions.push(
    register('fimd.showLog', () => log.show(true)),
    register('fimd.showDaemonLog', () => showDaemonLog(client)),
    register('fimd.doctor', () => runDoctor(client, pages)),
    register('fimd.showPrompt', () => showPrompt(client, pages)),
    register('fimd.pickModel', () => pickModel(client)),
    register('fimd.choosePath', () => choosePath()),
    register('fimd.help', () =>
      vscode.commands.executeCommand('workbench.action.openWalkthrough', 'fimd.fimd#fimd.start', false),
    ),
  );
}
