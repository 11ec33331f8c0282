#!/usr/bin/env python3
"""Lists the candidate source files of every package for clean_corpus.

Reads packages.txt and heldout.txt beside this file, walks the unpacked trees under DEST/tree and the
Pythons already installed on the machine, decides licence and language, and writes
DEST/files.tsv   (package, language, held-out flag, test flag, path inside the package, path on disk, repo)
DEST/packages.tsv (package, version, source, licence, cap in MB)

  list_files.py DEST
"""
import fnmatch
import glob
import json
import os
import re
import sys

LANGS = {
    '.py': 'python', '.c': 'c', '.h': 'c', '.cc': 'cpp', '.cpp': 'cpp', '.cxx': 'cpp', '.hpp': 'cpp',
    '.hh': 'cpp', '.hxx': 'cpp', '.ipp': 'cpp', '.cu': 'cuda', '.cuh': 'cuda', '.js': 'javascript',
    '.mjs': 'javascript', '.jsx': 'javascript', '.ts': 'typescript', '.tsx': 'typescript',
    '.mts': 'typescript', '.go': 'go', '.rs': 'rust', '.java': 'java', '.lua': 'lua', '.sh': 'bash',
    '.bash': 'bash', '.bats': 'bash', '.md': 'markdown', '.json': 'json', '.yaml': 'yaml',
    '.yml': 'yaml',
}
SKIP_DIRS = {
    'node_modules', 'third_party', 'thirdparty', 'third-party', '3rdparty', 'vendor', 'vendored',
    '_vendor', 'external', 'extern', 'umd', 'cdn', 'locale', 'locales', 'i18n', 'l10n', 'lang',
    'po', 'unicode', 'fixtures', 'testdata', 'test-data', 'test_data', '__snapshots__', 'snapshots',
    'baselines', '.git', '.github', '.pc', '__pycache__', 'min', 'minified', 'translations', 'tables',
    'dictionaries', 'idna', 'encodings', 'pydoc_data', 'lib2to3_tests', 'corpora', 'cassettes',
    'charsets', 'golden', 'debian', 'Inputs', 'bundled', 'deps', 'ffi_schema', 'emoji', 'unidata',
}
TEST_DIRS = {'test', 'tests', 'testing', 'spec', 'specs', '__tests__', 'unittests', 'unittest',
             'e2e', 'integration_tests', 'regress', 'regression', 'testsuite'}
TEST_NAME = re.compile(r'(^test_|_test\.|\.test\.|\.spec\.|_spec\.|Test\.java$|Tests\.java$|^test\.|_tests?\.py$)')
SKIP_NAME = re.compile(r'(\.min\.|\.d\.m?ts$|\.bundle\.|-bundle\.|\.umd\.|\.iife\.|\.pb\.go$|_pb2\.py$|\.pb\.(h|cc)$|'
                       r'zz_generated|unicode|^package-lock|^CHANGELOG|^CHANGES|^NEWS|^HISTORY|'
                       r'bindata|^configure$|^ltmain|^libtool|charmap|entities\.)', re.I)
# Parts of packages that are not ordinary source: compiler test suites and API descriptions.
SKIP_PATHS = {
    'llvm-toolchain-15': re.compile(r'(^|/)(test|unittests)/'),
    'rustc': re.compile(r'^src/test/|/tests/ui/|^tests/'),
    'cfn_lint': re.compile(r'.*\.json$'), 'botocore': re.compile(r'.*\.json$'),
    'boto3': re.compile(r'.*\.json$'), 'openssl': re.compile(r'^test/'),
    'python-pip': re.compile(r'^tests/data/'), 'date-fns': re.compile(r'(^|/)locale/|.*\.json$'),
}
INSTALL_PREFIX = re.compile(r'^(usr/lib/python3/dist-packages|usr/share/gocode/src|usr/share/cargo/registry|'
                            r'usr/share/lua/5\.\d|usr/include|usr/share|usr/lib)/')
COPYLEFT = re.compile(r'\b(A?GPL|LGPL|GFDL|MPL|EPL|CDDL|CC-BY|EUPL|Artistic|NPSL|OSL|CPL|SSPL|'
                      r'non-?free|proprietary|commercial)', re.I)
PERMISSIVE = re.compile(r'\b(MIT|Expat|BSD|Apache|ISC|PSF|Python|Unlicen[cs]e|zlib|Boost|BSL|CC0|public.domain|'
                        r'PostgreSQL|HPND|X11|curl|OpenSSL|Zope|NCSA|0BSD|Unicode|Lua|Go|OpenSSH|matplotlib|Biopython|WTFPL|WTFNMFPL|Zsh|ZPL)', re.I)


def skip_dir(name):
    return name in SKIP_DIRS or name.startswith('.') or name.endswith('.dist-info')


def licence_ok(text):
    """A licence expression is fine if some alternative of it is permissive and not copyleft."""
    parts = re.split(r'\s+or\s+|\s*/\s*|\|', text)
    return any(PERMISSIVE.search(p) and not COPYLEFT.search(p) for p in parts)


def dep5(path):
    """Debian copyright file -> list of (file regex, licence), in order (the last match wins)."""
    try:
        text = open(path, errors='replace').read()
    except OSError:
        return []
    rules = []
    for stanza in re.split(r'\n\s*\n', text):
        f = re.search(r'^Files:((?:.*\n?)(?:[ \t]+.*\n?)*)', stanza, re.M)
        l = re.search(r'^Licen[cs]e:[ \t]*(.+)', stanza, re.M)
        if f and l:
            globs = f.group(1).replace(',', ' ').split()
            rules.append((globs, l.group(1).strip()))
    if not rules:
        names = sorted(set(m.group(0) for m in PERMISSIVE.finditer(text)))
        bad = sorted(set(m.group(0).upper() for m in COPYLEFT.finditer(text)))
        rules = [(['*'], ' '.join(names) if not bad else 'unclear: ' + ' '.join(names + bad))]
    return [(re.compile('|'.join(fnmatch.translate(g) for g in globs)), lic) for globs, lic in rules]


def language_of(name):
    return LANGS.get(os.path.splitext(name)[1].lower())


def shebang(full):
    """The language of an executable script without a file name extension."""
    if '.' in os.path.basename(full) and not full.endswith(('.in', '.postinst')):
        return None
    try:
        with open(full, 'rb') as f:
            first = f.read(64).split(b'\n')[0]
    except OSError:
        return None
    m = re.match(rb'#! ?/(usr/)?bin/(env )?(ba|da)?(sh|python3?|lua)\b', first)
    return {b'sh': 'bash', b'lua': 'lua'}.get(m.group(4), 'python') if m else None


def walk(root, rules=None, only=None):
    for base, dirs, files in os.walk(root):
        dirs[:] = sorted(d for d in dirs if not skip_dir(d))
        rel = os.path.relpath(base, root)
        for name in sorted(files):
            lang = language_of(name) or shebang(os.path.join(base, name))
            if not lang or SKIP_NAME.search(name):
                continue
            path = name if rel == '.' else rel + '/' + name
            full = os.path.join(base, name)
            if '\t' in path or os.path.islink(full):
                continue
            if only and not only(path):
                continue
            if rules:
                lic = None
                for regex, value in rules:
                    if regex.match(path):
                        lic = value
                if lic is not None and not licence_ok(lic) :
                    continue
            size = os.stat(full).st_size
            if not 100 <= size <= 200_000:
                continue
            parts = path.split('/')
            test = bool(TEST_DIRS & set(p.lower() for p in parts[:-1]) or TEST_NAME.search(name))
            yield path, full, lang, test


def npm_filter(root):
    """Keeps one form of the sources of an npm package: src, else the ES modules, else what there is."""
    paths = [os.path.relpath(os.path.join(b, f), root) for b, d, fs in os.walk(root) for f in fs
             if re.search(r'\.([mc]?[jt]sx?)$', f) and not f.endswith('.d.ts') and '/node_modules/' not in b]
    top = [p.split('/')[0] for p in paths]
    if top.count('src') + top.count('Source') >= 15:
        return lambda p: not re.match(r'(dist|lib|es|esm|cjs|build|umd|bundles|commonjs|modern|legacy|types|_esm|_cjs|_types)/', p)
    for form in ('es', 'esm', 'lib/esm', 'dist/esm'):
        if sum(p.startswith(form + '/') for p in paths) >= 15:
            return lambda p, form=form: p.startswith(form + '/') or p.endswith('.md')
    return lambda p: not re.match(r'(dist|min|cjs|umd|_esm|_cjs|_types|lib\.\w+|dev)/', p)


def repo_name(pkg):
    """The name that the upstream repository (a user's folder) would have."""
    name = re.sub(r'^(python3-|librust-|golang-(github|golang)-|@[^/]+/)', '', pkg)
    name = re.sub(r'(-dev|-java|-toolchain-\d+|-\d+(\.\d+)*)$', '', name)
    return {'golang': 'go', 'node-typescript': 'TypeScript'}.get(name, name)


def version_of(kind, dest, name):
    d = f'{dest}/{kind}/{name.replace("/", "+")}'
    if kind == 'deb':
        for f in glob.glob(d + '/*.dsc'):
            return os.path.basename(f)[:-4].split('_', 1)[1]
    if kind == 'bin':
        for f in glob.glob(d + '/*.deb'):
            return os.path.basename(f).split('_')[1].replace('%3a', ':')
    return '?'


def main():
    dest = sys.argv[1]
    here = os.path.dirname(os.path.abspath(__file__))
    held = {l.strip() for l in open(here + '/heldout.txt') if l.strip() and l[0] != '#'}
    packages, files = [], []

    def add(pkg, version, source, licence, cap, found):
        n = len(files)
        skip = SKIP_PATHS.get(pkg)
        for path, full, lang, test in found:
            if skip and skip.search(path):
                continue
            files.append((pkg, lang, int(pkg in held), int(test), INSTALL_PREFIX.sub('', path), full, repo_name(pkg)))
        if len(files) > n:
            packages.append((pkg, version, source, licence, cap))

    for line in open(here + '/packages.txt'):
        line = line.split('#')[0].split()
        if not line:
            continue
        kind, name = line[:2]
        cap = next((w[4:] for w in line[2:] if w.startswith('cap=')), '40')
        root = f'{dest}/tree/{kind}/{name.replace("/", "+")}'
        if kind == 'local':
            local(name, cap, add)
            continue
        if kind == 'vendor':
            crates(f'{dest}/tree/deb/{name}', name, version_of('deb', dest, name), cap, held, files, packages)
            continue
        stated = next((w[4:] for w in line[2:] if w.startswith('lic=')), None)
        if not os.path.exists(root):
            print('absent:', kind, name)
            continue
        if kind == 'npm':
            meta = json.load(open(root + '/package.json'))
            licence = meta.get('license', '?')
            licence = licence if isinstance(licence, str) else licence.get('type', '?')
            if not licence_ok(licence):
                print('licence:', kind, name, licence)
                continue
            add(name.split('@5')[0], meta['version'], 'npm', licence, cap, walk(root, only=npm_filter(root)))
            continue
        if kind == 'deb':
            copyright_file = root + '/debian/copyright'
            rules = dep5(copyright_file)
        else:
            rules = dep5(f'{root}/usr/share/doc/{name}/copyright')
            rules = [r for r in rules if r[0].match('anything')]
        main_licence = next((l for r, l in rules if r.match('zzz/anything')), None)
        if stated:  # read by hand where the copyright file is not machine readable
            rules = [r for r in rules if COPYLEFT.search(r[1]) and not r[0].match('zzz/anything')]
            main_licence = stated
        text = main_licence or ''
        if text.startswith('unclear') or not licence_ok(text):
            print('licence:', kind, name, repr(main_licence))
            continue
        add(name, version_of(kind, dest, name), 'debian', text, cap, walk(root, rules))
    with open(dest + '/files.tsv', 'w') as f:
        f.writelines('\t'.join(map(str, row)) + '\n' for row in files)
    with open(dest + '/packages.tsv', 'w') as f:
        f.writelines('\t'.join(map(str, row)) + '\n' for row in packages)
    print(len(packages), 'packages', len(files), 'files')


# Crates that are tables and bindings rather than code.
SKIP_CRATES = re.compile(r'^(windows|winapi|ntapi|libc$|wasi|redox|perf-event|fortanix|libloading|packed_simd|'
                         r'elasticlunr|unic|idna|encoding|punycode|lzma-sys|mdbook|ucd)')


def crates(root, name, version, cap, held, files, packages):
    """Rust crates inside a source package, each under the licence of its own Cargo.toml."""
    held = {m.group(1) for h in held for m in [re.match(r'librust-(.+)-dev$', h)] if m}
    licences = set()
    for crate in sorted(os.listdir(root + '/vendor')) if os.path.isdir(root + '/vendor') else []:
        bare = re.sub(r'-\d+\.\d.*$', '', crate)
        if SKIP_CRATES.match(bare) or held & {bare, bare.replace('rustc-', ''), bare.replace('-core', ''),
                                              bare.replace('rustc-', '').replace('-core', '')}:
            continue
        try:
            manifest = open(f'{root}/vendor/{crate}/Cargo.toml', errors='replace').read()
        except OSError:
            continue
        m = re.search(r'^licen[cs]e\s*=\s*"([^"]+)"', manifest, re.M)
        if not m or not licence_ok(m.group(1)):
            print('licence: crate', crate, m and m.group(1))
            continue
        licences.add(m.group(1))
        for path, full, lang, test in walk(f'{root}/vendor/{crate}'):
            if lang in ('rust', 'markdown'):
                files.append((name + '-crates', lang, 0, int(test), path, full, bare))
    if licences:
        packages.append((name + '-crates', version, 'debian', 'each crate: MIT, Apache-2.0, BSD, ISC, zlib ...', cap))


def local(name, cap, add):
    root = os.path.expanduser('~/.pyenv')
    if name == 'pystdlib':
        for v in ('3.13.0', '3.11.7', '3.8.18', '2.7.18')[:3]:
            lib = f'{root}/versions/{v}/lib/python{v.rsplit(".", 1)[0]}'
            keep = lambda p: not re.match(r'(site-packages|lib2to3|ensurepip|config-)', p)
            add('cpython-' + v.rsplit('.', 1)[0], v, 'local', 'PSF-2.0', cap, walk(lib, only=keep))
    elif name == 'pysite':
        for v in ('3.13.0', '3.12.1', '3.11.7'):
            site = f'{root}/versions/{v}/lib/python{v.rsplit(".", 1)[0]}/site-packages'
            for info in sorted(glob.glob(site + '/*.dist-info')):
                meta = open(info + '/METADATA', errors='replace').read().split('\n\n')[0]
                lic = re.findall(r'^License(?:-Expression)?: (.+)|^Classifier: License :: OSI Approved :: (.+)', meta, re.M)
                lic = ' or '.join(sorted({(a or b).strip()[:60] for a, b in lic}))
                lic = lic.replace('3-Clause', 'BSD-3-Clause') if 'BSD' not in lic else lic
                pkg, version = os.path.basename(info)[:-10].rsplit('-', 1)
                if not licence_ok(lic) or pkg == 'docutils':  # parts are under the GPL
                    print('licence: local', pkg, repr(lic))
                    continue
                tops = {l.split('/')[0] for l in open(info + '/RECORD') if '.py' in l and l[0] not in './'}
                found = []
                for top in sorted(tops):
                    if os.path.isdir(f'{site}/{top}') and not top.endswith('-info') and top != '__pycache__':
                        found += [(top + '/' + p, f, l, t) for p, f, l, t in walk(f'{site}/{top}')]
                add(pkg, version, 'local', lic, cap, found)
    elif name == 'pyenv-scripts':
        add('pyenv', 'local', 'local', 'MIT', cap, walk(root, only=lambda p: not p.startswith(('versions', 'sources'))))


if __name__ == '__main__':
    main()
