// What the user set. Daemon settings are passed on only where they were set here, so that the
// daemon's own configuration file counts otherwise.
import * as vscode from 'vscode';
import { daemonKeys, mergeDaemonSettings } from './daemon_keys';

const section = 'fimd';

export type Scope = vscode.TextDocument | { languageId: string } | undefined;

export function config(scope?: Scope): vscode.WorkspaceConfiguration {
  return vscode.workspace.getConfiguration(section, scope);
}

export function isEnabled(scope?: Scope): boolean {
  return config(scope).get('enable', true);
}

export function isAutomatic(document: vscode.TextDocument): boolean {
  return config(document).get('automatic', true);
}

/** The daemon's settings as they are sent: those that differ from what VS Code would show. */
export function daemonSettings(): Record<string, unknown> {
  const current = config();
  return mergeDaemonSettings((key) => {
    const found = current.inspect(key);
    const chosen = [found?.globalValue, found?.workspaceValue, found?.workspaceFolderValue];
    return chosen.some((value) => value !== undefined) ? current.get(key) : undefined;
  });
}

/** Whether a change of the settings is one that the daemon must hear of. */
export function concernsDaemon(event: vscode.ConfigurationChangeEvent): boolean {
  return daemonKeys.some((key) => event.affectsConfiguration(`${section}.${key}`));
}

/** Where a setting is stored now, so that changing it has an effect. */
export function targetOf(key: string): vscode.ConfigurationTarget {
  const found = config().inspect(key);
  if (found?.workspaceFolderValue !== undefined) return vscode.ConfigurationTarget.WorkspaceFolder;
  if (found?.workspaceValue !== undefined) return vscode.ConfigurationTarget.Workspace;
  return vscode.ConfigurationTarget.Global;
}
