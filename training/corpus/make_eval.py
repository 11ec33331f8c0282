#!/usr/bin/env python3
"""Makes the held-out single-line items from the documents of the held-out packages.

Half of the items ask for a whole line (the cursor stands after the indentation), half for the rest
of a line from a word boundary on.

  make_eval.py heldout.docs.jsonl OUT.jsonl.gz
"""
import collections
import gzip
import json
import random
import re
import sys

LANGUAGES = ['python', 'c', 'cpp', 'javascript', 'typescript', 'go', 'rust', 'java', 'lua', 'bash']
PER_LANGUAGE = 60
PREFIX_CHARS, SUFFIX_CHARS = 2100, 700
COMMENT = {'python': '#', 'bash': '#', 'lua': '--'}
IMPORT = re.compile(r'(import|from|#|using|use|package|require|include|export \*|local \w+ = require|mod|extern)\b|#include|const .* = require\(')


def usable_lines(text, language):
    """Indices of lines that are code worth completing: no comments, imports, brackets, docstrings."""
    lines = text.split('\n')
    in_string = in_comment = False
    out = []
    for i, line in enumerate(lines):
        s = line.strip()
        inside = in_string or in_comment
        if language == 'python':
            if (s.count('"""') + s.count("'''")) % 2:
                in_string = not in_string
                inside = True
        elif language == 'lua':
            if '--[[' in s:
                in_comment = True
            if ']]' in s:
                in_comment, inside = False, True
        elif language not in ('bash',):
            if '/*' in s:
                inside = True
                in_comment = '*/' not in s.split('/*')[-1]
            elif '*/' in s:
                in_comment, inside = False, True
        mark = COMMENT.get(language, '//')
        if (inside or in_string or in_comment or s.startswith((mark, '*', '"""', "'''")) or IMPORT.match(s)
                or len(s.replace(' ', '')) < 8 or len(line) > 100 or len(re.findall(r'\w', s)) < 5
                or not 8 <= i < len(lines) - 3):
            continue
        out.append(i)
    return lines, out


def make_item(lines, i, doc, rng, kind):
    line = lines[i]
    start = len(line) - len(line.lstrip())
    if kind == 'rest':
        cuts = [m.start() for m in re.finditer(r'(?<=\W)\w|(?<=\w)\W', line) if m.start() > start + 2 and len(line) - m.start() >= 6]
        cuts = [c for c in cuts if COMMENT.get(doc['lang'], '//') not in line[:c]]
        if not cuts:
            return None
        start = rng.choice(cuts)
    before = '\n'.join(lines[:i]) + '\n'
    after = '\n' + '\n'.join(lines[i + 1:])
    if len(before) > PREFIX_CHARS:
        before = before[-PREFIX_CHARS:].split('\n', 1)[1]
    if len(after) > SUFFIX_CHARS:
        after = after[:SUFFIX_CHARS].rsplit('\n', 1)[0] + '\n'
    return {'prefix': before + line[:start], 'suffix': after, 'middle': line[start:],
            'path': doc['path'], 'language': doc['lang'], 'repo': doc['repo'], 'kind': kind}


def main():
    rng = random.Random(20261121)
    by_language = collections.defaultdict(list)
    for row in open(sys.argv[1], encoding='utf-8'):
        doc = json.loads(row)
        if len(doc['text']) > 800 and '/languages/' not in doc['path']:
            by_language[doc['lang']].append(doc)
    with gzip.open(sys.argv[2], 'wt', encoding='utf-8') as out:
        for language in LANGUAGES:
            docs = by_language[language]
            rng.shuffle(docs)
            docs.sort(key=lambda d: bool(re.search(r'(^|/)(tests?|spec)/|_test\.|Test', d['path'])))  # code before tests
            pool = docs[:PER_LANGUAGE]
            seen, made, rounds = set(), 0, 0
            while made < PER_LANGUAGE and rounds < 40:
                rounds += 1
                for doc in pool:
                    if made == PER_LANGUAGE:
                        break
                    lines, usable = usable_lines(doc['text'], language)
                    if not usable:
                        continue
                    item = make_item(lines, rng.choice(usable), doc, rng, ('line', 'rest')[made % 2])
                    if not item or item['middle'] in seen:
                        continue
                    seen.add(item['middle'])
                    out.write(json.dumps(item, ensure_ascii=False) + '\n')
                    made += 1
            print(language, made, 'items from', len(pool), 'files')


if __name__ == '__main__':
    main()
