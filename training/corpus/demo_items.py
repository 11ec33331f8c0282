#!/usr/bin/env python3
"""Prints source files as overlapping pieces in the form of evaluation items, for decontamination.

  demo_items.py FILE...
"""
import json
import re
import sys

for name in sys.argv[1:]:
    if name.endswith('.md'):
        continue
    text = open(name, encoding='utf-8').read()
    # Without the licence header, which thousands of files share.
    text = re.sub(r'\A(\s*(#|//).*\n)+', '', text)
    for i in range(0, len(text), 600):
        print(json.dumps({'prefix': '', 'middle': text[max(0, i - 200):i + 600], 'suffix': ''}))
