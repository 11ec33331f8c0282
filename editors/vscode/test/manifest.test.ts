// package.json against the code and the daemon's own documentation.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import * as path from 'node:path';
import { test } from 'node:test';
import { daemonKeys, mergeDaemonSettings } from '../src/daemon_keys';

interface Setting {
  type: string;
  default: unknown;
  minimum?: number;
  maximum?: number;
  description?: string;
  markdownDescription?: string;
}

interface Manifest {
  contributes: {
    commands: { command: string }[];
    menus: Record<string, { command?: string }[]>;
    keybindings: { command: string }[];
    walkthroughs?: { id: string; steps: { id: string; description: string; media: { markdown: string } }[] }[];
    configuration: { properties: Record<string, Setting> }[];
  };
}

const root = process.cwd();
const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Manifest;
const { contributes } = manifest;
const settings = Object.assign({}, ...contributes.configuration.map(({ properties }) => properties)) as Record<string, Setting>;
const own = ['fimd.enable', 'fimd.automatic', 'fimd.path', 'fimd.trace.server'];

function sources(folder: string): string {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(path.join(entry.parentPath, entry.name), 'utf8'))
    .join('\n');
}

test('every setting is used, every used setting is described', () => {
  assert.deepEqual(
    Object.keys(settings).sort(),
    [...own, ...daemonKeys.map((key) => `fimd.${key}`)].sort(),
  );
  for (const [name, { description, markdownDescription }] of Object.entries(settings)) {
    assert.match(description ?? markdownDescription ?? '', /\.$/, name);
  }
});

test('the daemon knows its settings by these names, with these bounds', () => {
  const table = readFileSync(path.join(root, '../../docs/configuration.md'), 'utf8');
  for (const key of daemonKeys) {
    const name = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const [part, last = ''] = name.split('.');
    const section = table.split('### ').find((text) => text.startsWith(`\`[${part}]\``));
    const row = section?.split('\n').find((line) => line.startsWith(`| \`${last}\` |`));
    assert.ok(row, `no ${name} in docs/configuration.md`);
    const setting = settings[`fimd.${key}`];
    assert.ok(setting);
    if (setting.minimum !== undefined) {
      assert.ok(row.includes(`${setting.minimum} to ${setting.maximum ?? ''}`), row);
      assert.ok(row.includes(`| \`${String(setting.default)}\` |`), row);
    }
  }
});

test('commands in menus, keys and help exist and are registered', () => {
  const code = sources(path.join(root, 'src'));
  const known = new Set(contributes.commands.map(({ command }) => command));
  const verbs = ['explain', 'refactor', 'fix', 'document', 'review'].map((verb) => `fimd.${verb}`);
  for (const command of known) {
    assert.ok(code.includes(`'${command}'`) || verbs.includes(command), `${command} is not registered`);
  }
  const menus = Object.values(contributes.menus).flat();
  for (const { command } of [...menus, ...contributes.keybindings]) {
    if (command !== undefined) assert.ok(known.has(command), command);
  }
  for (const { steps } of contributes.walkthroughs ?? []) {
    for (const { description, media } of steps) {
      readFileSync(path.join(root, media.markdown));
      for (const [, command = ''] of description.matchAll(/\(command:([\w.]+)/g)) {
        if (command.startsWith('fimd.')) assert.ok(known.has(command), command);
      }
    }
  }
});

test('only what is set goes to the daemon', () => {
  const values: Record<string, unknown> = {
    'model.path': '',
    'engine.threads': 0,
    'completion.multiLine': false,
    'completion.exclude': [],
    enable: true,
  };
  assert.deepEqual(
    mergeDaemonSettings((key) => values[key]),
    { 'editor.reports': true, 'completion.multiLine': false, 'completion.exclude': [], 'engine.threads': 0 },
  );
});
