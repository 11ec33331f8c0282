import * as vscode from 'vscode';
import type { Client } from '../client';
import { setAll, setLanguage } from '../enablement';
import { isEnabled } from '../settings';
import type { Switch } from '../switch';
import { details, stateText } from './status';

const { Global, Workspace } = vscode.ConfigurationTarget;

interface Entry extends vscode.QuickPickItem {
  run?: () => unknown;
}

const command = (name: string) => () => vscode.commands.executeCommand(name);
const separator = (label: string): Entry => ({ label, kind: vscode.QuickPickItemKind.Separator });

function switches(toggle: Switch): Entry[] {
  const entry = (where: string, on: boolean, set: (on: boolean) => Promise<void>): Entry => ({
    label: `${on ? '$(circle-slash) Switch off' : '$(zap) Switch on'} ${where}`,
    run: () => toggle.change(!on, set),
  });
  const entries = [entry('everywhere', isEnabled(), (on) => setAll(on, Global))];
  if (vscode.workspace.workspaceFolders) {
    entries.push(entry('in this workspace', isEnabled(), (on) => setAll(on, Workspace)));
  }
  const document = vscode.window.activeTextEditor?.document;
  if (document) {
    const id = document.languageId;
    entries.push(entry(`for the language ${id}`, isEnabled(document), (on) => setLanguage(on, id)));
  }
  return entries;
}

function snoozes(toggle: Switch): Entry[] {
  if (toggle.snoozedMinutes > 0) {
    return [{ label: '$(bell) Wake up', description: `${toggle.snoozedMinutes} min left`, run: () => toggle.wake() }];
  }
  return [{ label: '$(bell-slash) Snooze…', run: command('fimd.snooze') }];
}

async function show(client: Client, toggle: Switch): Promise<void> {
  const facts = details(client.status)
    .filter(([label]) => label !== 'Message')
    .map(([, value]) => value);
  const entries: Entry[] = [
    ...switches(toggle),
    ...snoozes(toggle),
    separator('Model'),
    {
      label: '$(package) Choose the model…',
      description: client.status.model ?? '',
      run: command('fimd.pickModel'),
    },
    separator('Look inside'),
    { label: '$(output) Show the log', run: command('fimd.showLog') },
    { label: '$(list-unordered) Show the daemon’s log', run: command('fimd.showDaemonLog') },
    { label: '$(eye) Show the last prompt', run: command('fimd.showPrompt') },
    { label: '$(pulse) Run the doctor', run: command('fimd.doctor') },
    separator('Program'),
    { label: '$(debug-restart) Restart', run: command('fimd.restart') },
    { label: '$(settings-gear) Settings', run: () => vscode.commands.executeCommand('workbench.action.openSettings', '@ext:fimd.fimd') },
    { label: '$(question) Help', run: command('fimd.help') },
  ];
  const chosen = await vscode.window.showQuickPick(entries, {
    title: `fimd: ${stateText(client.status, true, toggle.snoozedMinutes)}`,
    placeHolder: client.status.message ?? facts.join(', '),
  });
  await chosen?.run?.();
}

async function snooze(toggle: Switch): Promise<void> {
  const choices = [5, 15, 30, 60, 240].map((minutes) => ({
    label: minutes < 60 ? `${minutes} minutes` : minutes === 60 ? '1 hour' : `${minutes / 60} hours`,
    minutes,
  }));
  const chosen = await vscode.window.showQuickPick(choices, { title: 'No suggestions for …' });
  if (chosen) await toggle.snooze(chosen.minutes);
}

/** The menu behind the status bar item, and its commands. */
export function activate(context: vscode.ExtensionContext, client: Client, toggle: Switch): void {
  const register = vscode.commands.registerCommand;
  context.subscriptions.push(
    register('fimd.menu', () => show(client, toggle)),
    register('fimd.restart', () => toggle.restart()),
    register('fimd.snooze', () => snooze(toggle)),
    register('fimd.enable', () => toggle.change(true, (on) => setAll(on, Global))),
    register('fimd.disable', () => toggle.change(false, (on) => setAll(on, Global))),
  );
}
