import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { after, test } from 'node:test';
import { findProgram, missingMessage, places, type Surroundings } from '../src/binary';

const root = mkdtempSync(path.join(tmpdir(), 'fimd-test-'));
after(() => rmSync(root, { recursive: true }));

/** A file below `root`, executable or not. */
function file(name: string, mode: number): string {
  const full = path.join(root, name);
  mkdirSync(path.dirname(full), { recursive: true });
  writeFileSync(full, '#!/bin/sh\n');
  chmodSync(full, mode);
  return full;
}

const nowhere: Surroundings = {
  setting: '',
  extension: path.join(root, 'extension'),
  pathVariable: path.join(root, 'empty'),
  home: path.join(root, 'home'),
};

test('what is set counts alone', async () => {
  const chosen = file('chosen/my-fimd', 0o755);
  const other = file('other/fimd', 0o755);
  const around = { ...nowhere, pathVariable: path.dirname(other) };
  assert.equal((await findProgram({ ...around, setting: chosen }))?.path, chosen);
  assert.equal(await findProgram({ ...around, setting: '/no/such/fimd' }), undefined);
  assert.equal(await findProgram({ ...around, setting: './fimd' }), undefined, 'relative to what?');
  assert.match(missingMessage({ ...around, setting: '/no/such/fimd' }), /\/no\/such\/fimd/);
});

test('a set name is looked for on the PATH, a set ~ is the home', async () => {
  const named = file('named/fimd-next', 0o755);
  const around = { ...nowhere, pathVariable: path.dirname(named), setting: 'fimd-next' };
  assert.equal((await findProgram(around))?.path, named);
  const home = file('home/build/fimd', 0o755);
  assert.equal((await findProgram({ ...nowhere, setting: '~/build/fimd' }))?.path, home);
});

test('the bundled program comes first, then the PATH, then the usual places', async () => {
  const usual = file('home/.local/bin/fimd', 0o755);
  assert.equal((await findProgram(nowhere))?.path, usual);
  const onPath = file('path/fimd', 0o755);
  const around = { ...nowhere, pathVariable: `${root}/empty${path.delimiter}${root}/path` };
  assert.equal((await findProgram(around))?.path, onPath);
  const bundled = file('extension/bin/fimd', 0o755);
  assert.deepEqual(await findProgram(around), { path: bundled, why: 'part of the extension' });
});

test('what cannot be run is passed over', async () => {
  file('dull/fimd', 0o644);
  mkdirSync(path.join(root, 'folder/fimd'), { recursive: true });
  const good = file('good/fimd', 0o755);
  const pathVariable = ['dull', 'folder', 'good'].map((name) => path.join(root, name)).join(path.delimiter);
  const around = { ...nowhere, extension: path.join(root, 'none'), pathVariable };
  assert.equal((await findProgram(around))?.path, good);
});

test('folders of the PATH that depend on the working directory are not used', () => {
  const around = { ...nowhere, pathVariable: ['.', '', 'bin', '/opt/x'].join(path.delimiter) };
  const found = places(around).filter(({ why }) => why === 'the PATH');
  assert.deepEqual(found.map((place) => place.path), ['/opt/x/fimd']);
});
