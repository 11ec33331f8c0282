// Bundles the extension into dist/extension.js, or with --tests the tests into dist/test/.
import { build } from 'esbuild';
import { copyFileSync, readdirSync, rmSync } from 'node:fs';

const production = process.argv.includes('--production');
const tests = process.argv.includes('--tests');

const common = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  logLevel: 'warning',
  // The ES modules of these packages, not their UMD wrappers, which bundlers cannot follow.
  mainFields: ['module', 'main'],
};

if (tests) {
  rmSync('dist/test', { recursive: true, force: true });
  await build({
    ...common,
    entryPoints: readdirSync('test')
      .filter((name) => name.endsWith('.test.ts'))
      .map((name) => `test/${name}`),
    outdir: 'dist/test',
    sourcemap: 'inline',
    external: ['vscode'],
  });
} else {
  rmSync('dist', { recursive: true, force: true });
  copyFileSync('../../LICENSE', 'LICENSE');
  await build({
    ...common,
    entryPoints: ['src/extension.ts'],
    outfile: 'dist/extension.js',
    sourcemap: !production,
    minify: production,
    external: ['vscode'],
  });
}
