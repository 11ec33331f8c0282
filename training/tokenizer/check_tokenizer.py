#!/usr/bin/env python3
"""Encodes documents with a tokenizer.json, independently of the trainer, checks that decoding gives
the same bytes back, and prints bytes per token by language. Needs the `regex` module.

  check_tokenizer.py TOKENIZER.json DOCUMENTS.jsonl [MB per language]
"""
import collections
import functools
import json
import sys

import regex


def byte_alphabet():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {b: chr(b) for b in plain}, 256
    for b in range(256):
        if b not in table:
            table[b], extra = chr(extra), extra + 1
    return table


class Tokenizer:
    def __init__(self, path):
        data = json.load(open(path, encoding='utf-8'))
        model = data['model']
        self.vocab = model['vocab']
        self.ranks = {tuple(m.split(' ')): i for i, m in enumerate(model['merges'])}
        self.split = regex.compile(data['pre_tokenizer']['pretokenizers'][0]['pattern']['Regex'])
        self.bytes_to_text = byte_alphabet()
        self.text_to_byte = {c: b for b, c in self.bytes_to_text.items()}
        self.tokens = {i: t for t, i in self.vocab.items()}
        self.piece = functools.lru_cache(1 << 20)(self._piece)

    def _piece(self, text):
        parts = [self.bytes_to_text[b] for b in text.encode()]
        while len(parts) > 1:
            rank, at = min((self.ranks.get((a, b), 1 << 30), i) for i, (a, b) in enumerate(zip(parts, parts[1:])))
            if rank == 1 << 30:
                break
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
        return [self.vocab[p] for p in parts]

    def encode(self, text):
        return [i for m in self.split.finditer(text) for i in self.piece(m.group())]

    def decode(self, ids):
        return bytes(self.text_to_byte[c] for i in ids for c in self.tokens[i]).decode()


def main():
    tokenizer = Tokenizer(sys.argv[1])
    limit = float(sys.argv[3]) * 1e6 if len(sys.argv) > 3 else 1e12
    size, count = collections.Counter(), collections.Counter()
    for line in open(sys.argv[2], encoding='utf-8'):
        doc = json.loads(line)
        if size[doc['lang']] > limit:
            continue
        ids = tokenizer.encode(doc['text'])
        assert tokenizer.decode(ids) == doc['text'], doc['path']
        size[doc['lang']] += len(doc['text'].encode())
        count[doc['lang']] += len(ids)
    assert len(tokenizer.vocab) == 16384
    for hard in ('naïve café 数字 12345\u3000\u200b\U0001f600\r\n\t\t x\xa0y  \n\n  z ', "I'll DON'T'S", ' ' * 100 + '\t'):
        assert tokenizer.decode(tokenizer.encode(hard)) == hard
    for lang in sorted(size):
        print(f'{lang}\t{size[lang]} bytes\t{size[lang] / count[lang]:.3f} bytes/token')
    print(f'all\t{sum(size.values())} bytes\t{sum(size.values()) / sum(count.values()):.3f} bytes/token')


if __name__ == '__main__':
    main()
