// Choosing the model and the program.
import { readdir } from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import * as vscode from 'vscode';
import type { Client } from '../client';
import { config, targetOf } from '../settings';

interface Choice extends vscode.QuickPickItem {
  /** The value for fimd.model.path; undefined: look for a file. */
  value?: string | undefined;
}

/** Folders where people keep models. */
function folders(current: string): string[] {
  const home = os.homedir();
  const known = [
    path.join(home, 'models'),
    path.join(home, '.local/share/fimd/models'),
    path.join(home, '.cache/llama.cpp'),
    '/usr/local/share/fimd/models',
    '/usr/share/fimd/models',
  ];
  return [...new Set(current === '' ? known : [path.dirname(current), ...known])];
}

async function models(current: string): Promise<string[]> {
  const found = await Promise.all(
    folders(current).map(async (folder) => {
      try {
        const names = await readdir(folder);
        return names.filter((name) => name.endsWith('.gguf')).map((name) => path.join(folder, name));
      } catch {
        return [];
      }
    }),
  );
  return found.flat();
}

async function setModel(value: string): Promise<void> {
  await config().update('model.path', value === '' ? undefined : value, targetOf('model.path'));
}

export async function pickModel(client: Client): Promise<void> {
  const current = config().get('model.path', '');
  const choices: Choice[] = [
    { label: '$(home) The default', description: 'of the configuration, else what comes with fimd', value: '' },
    ...(await models(current)).map((file) => ({
      label: `$(package) ${path.basename(file)}`,
      description: path.dirname(file),
      value: file,
    })),
    { label: '$(folder-opened) A file…' },
  ];
  const loaded = client.status.model;
  const chosen = await vscode.window.showQuickPick(choices, {
    title: 'The model, for all editors that use this daemon',
    placeHolder: loaded === undefined ? 'No model is loaded' : `Now: ${loaded}`,
    matchOnDescription: true,
  });
  if (!chosen) return;
  if (chosen.value !== undefined) return setModel(chosen.value);
  const files = await vscode.window.showOpenDialog({
    title: 'A model for fimd',
    openLabel: 'Use this model',
    filters: { 'GGUF models': ['gguf'] },
  });
  if (files?.[0]) await setModel(files[0].fsPath);
}

export async function choosePath(): Promise<void> {
  const files = await vscode.window.showOpenDialog({
    title: 'The program fimd',
    openLabel: 'Use this program',
  });
  if (files?.[0]) {
    await config().update('path', files[0].fsPath, vscode.ConfigurationTarget.Global);
  }
}
