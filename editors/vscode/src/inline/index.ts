import * as vscode from 'vscode';
import type { Client } from '../client';
import { Feedback } from './feedback';
import { InlineProvider } from './provider';

/** Inline suggestions, and the commands around them. */
export function activate(
  context: vscode.ExtensionContext,
  client: Client,
  log: vscode.LogOutputChannel,
): void {
  const feedback = new Feedback(client);
  const run = vscode.commands.executeCommand;
  context.subscriptions.push(
    feedback,
    new InlineProvider(client, feedback, log),
    // VS Code runs it when a suggestion was accepted as a whole; its arguments are the daemon's.
    vscode.commands.registerCommand('fimd.accepted', async (...args: unknown[]) => {
      await client.running?.sendRequest('workspace/executeCommand', {
        command: 'fimd.accepted',
        arguments: args,
      });
    }),
    vscode.commands.registerCommand('fimd.trigger', async () => {
      await run('editor.action.inlineSuggest.trigger');
    }),
    // Where a suggestion was extended, VS Code believes to have asked for others already.
    vscode.commands.registerCommand('fimd.cycle', async () => {
      await run('editor.action.inlineSuggest.hide');
      await run('editor.action.inlineSuggest.trigger');
      await run('editor.action.inlineSuggest.showNext');
    }),
  );
}
