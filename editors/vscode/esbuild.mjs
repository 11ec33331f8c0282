// Bundles the extension into dist/extension.js, or with --tests the tests into dist/test/.
import { build } from 'esbuild';
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

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

/** The licences of the packages that are in a bundle, as they ask for. */
function notices(metafile) {
  const folders = Object.keys(metafile.inputs).flatMap(
    (file) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? [],
  );
  const texts = [...new Set(folders)].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`no licence text in ${folder}`);
    const text = readFileSync(`${folder}/${file}`, 'utf8').trim();
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
  return ['This extension contains:\n', ...texts].join(`\n${'-'.repeat(80)}\n\n`);
}

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
  const { metafile } = await build({
    ...common,
    entryPoints: ['src/extension.ts'],
    metafile: true,
    outfile: 'dist/extension.js',
    sourcemap: !production,
    minify: production,
    external: ['vscode'],
  });
  writeFileSync('NOTICES.txt', notices(metafile));
}
