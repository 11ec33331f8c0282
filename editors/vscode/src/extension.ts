// The extension's entry: makes the parts and hands them to each other.
import * as vscode from 'vscode';
import { Client } from './client';
import * as commands from './commands';
import * as diff from './diff';
import * as inline from './inline';
import * as menu from './status/menu';
import * as status from './status';
import { Switch } from './switch';
import * as tools from './tools';
import { Pages } from './tools/pages';

let client: Client | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const log = vscode.window.createOutputChannel('fimd', { log: true });
  client = new Client(context, log);
  const toggle = new Switch(client);
  context.subscriptions.push(log, client, toggle);
  inline.activate(context, client, log);
  status.activate(context, client, toggle);
  menu.activate(context, client, toggle);
  const pages = new Pages();
  context.subscriptions.push(pages);
  tools.activate(context, client, pages, log);
  commands.activate(context, client, diff.activate(context), pages);
  await toggle.apply();
}

export async function deactivate(): Promise<void> {
  await client?.stop();
}
