import * as vscode from 'vscode';
import type { Client } from '../client';
import { documentSelector } from '../client_options';
import { isEnabled } from '../settings';
import type { Switch } from '../switch';
import { costLine } from '../tools/prompt_page';
import { barText, details, stateText, type Status } from './status';

/** Generations shorter than this leave the status bar alone. */
const flashMs = 250;

function tooltip(client: Client, suits: boolean, minutes: number): vscode.MarkdownString {
  const status = client.status;
  const text = new vscode.MarkdownString(undefined, true);
  text.appendMarkdown(`**fimd** — ${stateText(status, suits, minutes)}\n\n`);
  const rows = details(status);
  if (client.lastReport) rows.push(['Last suggestion', costLine(client.lastReport)]);
  if (rows.length > 0) text.appendMarkdown('| | |\n|---|---|\n');
  for (const [label, value] of rows) {
    const safe = value.replace(/[\\`*_{}[\]<>|#$]/g, '\\$&').replace(/\s+/g, ' ');
    text.appendMarkdown(`| ${label} | ${safe} |\n`);
  }
  if (!vscode.workspace.getConfiguration('editor').get<boolean>('inlineSuggest.enabled', true)) {
    text.appendMarkdown('\n\n`editor.inlineSuggest.enabled` is off: suggestions come only when asked for.');
  }
  text.appendMarkdown('\n\nClick for the menu.');
  return text;
}

/** Whether the active editor shows a document that gets suggestions; true if there is none. */
function suitsActive(): boolean {
  const document = vscode.window.activeTextEditor?.document;
  if (!document) return true;
  return vscode.languages.match(documentSelector, document) > 0 && isEnabled(document);
}

/** The status bar item. */
export function activate(context: vscode.ExtensionContext, client: Client, toggle: Switch): void {
  const item = vscode.window.createStatusBarItem('fimd.status', vscode.StatusBarAlignment.Right, 100);
  item.name = 'fimd';
  item.command = 'fimd.menu';
  let timer: NodeJS.Timeout | undefined;

  const draw = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const status = client.status;
    const suits = suitsActive();
    item.text = barText(status, suits, toggle.snoozedMinutes);
    item.tooltip = tooltip(client, suits, toggle.snoozedMinutes);
    const failed = status.state === 'error';
    item.backgroundColor = failed ? new vscode.ThemeColor('statusBarItem.errorBackground') : undefined;
    item.accessibilityInformation = { label: `fimd: ${stateText(status, suits, toggle.snoozedMinutes)}` };
  };
  const changed = (status: Status): void => {
    if (status.state === 'generating') timer ??= setTimeout(draw, flashMs);
    else draw();
  };

  draw();
  item.show();
  context.subscriptions.push(
    item,
    { dispose: () => clearTimeout(timer) },
    client.onDidChangeStatus(changed),
    vscode.window.onDidChangeActiveTextEditor(draw),
    vscode.workspace.onDidChangeConfiguration(draw),
  );
}
