// Runs every *_test.mjs in one window and counts.
// usage: node run.mjs EDITORS VSIX [PATTERN [TIMES]]; the environment is that of tests/e2e/lib/environment.sh
import { readdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runTest } from './lib/harness.mjs';
import { Session } from './lib/session.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const [editors, vsix, pattern = '', times = '1'] = process.argv.slice(2);
const work = process.env.FIMD_E2E_WORK;
const pictures = resolve(process.env.FIMD_E2E_PICTURES || join(here, '../../../build/e2e/vscode'));
const begun = Date.now();
const seconds = (since) => ((Date.now() - since) / 1000).toFixed(1);

const tests = [];
for (const file of readdirSync(here).filter((f) => f.endsWith('_test.mjs')).sort()) {
  const { default: list } = await import(join(here, file));
  tests.push(...list.filter((test) => new RegExp(pattern, 'i').test(test.name)));
}
if (tests.length === 0) {
  console.log(`no test matches ${pattern}`);
  process.exit(1);
}

if (!(Number(times) >= 1)) {
  console.log(`how many times? not ${times}`);
  process.exit(2);
}

rmSync(pictures, { recursive: true, force: true });
const session = new Session({
  work,
  editors,
  extensions: [resolve(vsix), join(work, 'probe.vsix')],
  settings: { 'fimd.path': join(work, 'fimd') },
});
let passed = 0;
const failed = [];

async function attempt(test, turn) {
  const since = Date.now();
  try {
    await runTest(session, test, pictures, turn);
    ++passed;
    console.log(`ok   ${test.name} (${seconds(since)} s)`);
  } catch (error) {
    failed.push(test.name);
    console.log(`FAIL ${test.name} (${seconds(since)} s)\n${error.stack}`);
  }
}

try {
  await session.start();
  console.log(`started code-server and Chromium (${seconds(begun)} s)`);
  for (let turn = 0; turn < Number(times); ++turn) {
    for (const test of tests) await attempt(test, turn);
  }
} catch (error) {
  failed.push('start');
  console.log(`FAIL start\n${error.stack}`);
} finally {
  await session.stop();
}
console.log(`vscode: ${passed} passed, ${failed.length} failed in ${seconds(begun)} s; pictures in ${pictures}`);
process.exit(failed.length ? 1 : 0);
