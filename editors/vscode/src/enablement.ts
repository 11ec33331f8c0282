// Writes the setting fimd.enable so that a choice has the effect that its words promise. VS Code lets
// any value for a language win over any value for all, also the user's over the workspace's.
import * as vscode from 'vscode';
import { config, isEnabled } from './settings';

const { Global, Workspace } = vscode.ConfigurationTarget;
const key = 'enable';

type Target = typeof Global | typeof Workspace;

function hasWorkspace(): boolean {
  return vscode.workspace.workspaceFolders !== undefined;
}

async function write(value: boolean | undefined, target: Target, languageId?: string): Promise<void> {
  const scope = languageId === undefined ? undefined : { languageId };
  await config(scope).update(key, value, target, languageId !== undefined);
}

/** Switches one language on or off; no value stays where none is needed. */
export async function setLanguage(on: boolean, languageId: string): Promise<void> {
  const before = config({ languageId }).inspect<boolean>(key);
  if (before?.workspaceLanguageValue !== undefined) await write(undefined, Workspace, languageId);
  await write(isEnabled() === on ? undefined : on, Global, languageId);
}

/** Switches everything on or off, everywhere or in this workspace. */
export async function setAll(on: boolean, target: Target): Promise<void> {
  const before = config().inspect<boolean>(key);
  const inherited = target === Workspace ? (before?.globalValue ?? true) : true;
  await write(on === inherited ? undefined : on, target);
  if (target === Global && before?.workspaceValue === !on) await write(undefined, Workspace);
  if (!on) await overrule(before?.languageIds ?? [], target);
}

/** Off means off, also for languages that were switched on by themselves. */
async function overrule(languageIds: readonly string[], target: Target): Promise<void> {
  for (const languageId of languageIds) {
    const found = config({ languageId }).inspect<boolean>(key);
    if (found?.workspaceLanguageValue === true) await write(undefined, Workspace, languageId);
    if (found?.globalLanguageValue !== true) continue;
    if (target === Global) await write(undefined, Global, languageId);
    else if (hasWorkspace()) await write(false, Workspace, languageId);
  }
}
