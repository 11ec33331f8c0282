"""Turns documents into training samples in exactly the layout fimd sends.

A sample is the token list of
  [<|repo_name|>{repo}\\n] [<|file_sep|>{path}\\n{snippet}\\n ...] [<|file_sep|>{path}\\n]
  <|fim_prefix|>{text before the typed part}<|fim_suffix|>{text after the middle}
  <|fim_middle|>{typed part}{middle}<|endoftext|>
where the typed part is the cursor's line up to the cursor and, past the first eight lines of a file,
the lines of its group of eight that stand before it (completion/prompt_builder.cc); or, for the
smaller part, plain left-to-right text with the same header. Every segment between control tokens is
tokenised on its own; typed part and middle are one text.

With the tokens comes one code per token: how much its prediction counts (see CODE_*).
No torch here; the encoder is passed in, so this runs and is tested anywhere.
"""

import os
import re

CODE_NONE, CODE_TEXT, CODE_MIDDLE = 0, 1, 2

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,}")
BOUNDARY = re.compile(r"(?<=\w)(?=\W)|(?<=\W)(?=\w)|(?<=[^\w\s])(?=[^\w\s])")
CLOSERS = re.compile(r"[)\]}'\"`;,:>]+\s*$")
COMMENT = re.compile(r"\s*(#|//|/\*|\*|--|<!--)")
OPENERS, ENDERS = "([{", ")]}"

# kind, probability
KINDS = (("rest", 0.40), ("inner", 0.10), ("blank", 0.13), ("whole", 0.05), ("block", 0.18),
         ("lines", 0.05), ("span", 0.05), ("empty", 0.04))
# target length in tokens: probability, low, high
LENGTHS = ((0.30, 120, 300), (0.40, 300, 620), (0.21, 620, 1000), (0.09, 1000, 2040))


class Options:
    """Mixture settings; the defaults are those of fimd-small's second run."""

    max_tokens = int(os.environ.get("FIMD_LENGTH", 2048))
    plain = 0.13            # documents trained left to right
    header = 0.80           # samples with repository and path
    path_only = 0.08        # of those: path without repository name
    snippets = 0.42         # of the samples with a header: other files of the same repository first
    suffix_none = 0.07
    group = 8               # lines in a group, as in completion/prompt_builder.cc
    grouped = 0.85          # samples whose typed part has the lines of the cursor's group
    group_bytes = 1000      # the most that these lines may hold
    samples_chars = 2600    # one sample per so many characters of a document
    samples_most = 10


class Document:
    """A text with its line starts. Lines exclude their newline."""

    def __init__(self, text, repo, path):
        self.text, self.repo, self.path = text, repo, path
        self.starts = [0]
        at = text.find("\n")
        while at >= 0:
            self.starts.append(at + 1)
            at = text.find("\n", at + 1)
        if self.starts[-1] == len(text) and len(self.starts) > 1:
            self.starts.pop()

    def line_end(self, line):
        if line + 1 < len(self.starts):
            return self.starts[line + 1] - 1
        return len(self.text) - (1 if self.text.endswith("\n") else 0)

    def line(self, line):
        return self.text[self.starts[line]:self.line_end(line)]

    def line_of(self, offset):
        low, high = 0, len(self.starts)
        while high - low > 1:
            mid = (low + high) // 2
            if self.starts[mid] <= offset:
                low = mid
            else:
                high = mid
        return low


def indent_of(line):
    return len(line) - len(line.lstrip(" \t"))


def column_in(line, rng):
    """A cursor column: after the indentation, at a token boundary, or in the middle of a word."""
    indent, size = indent_of(line), len(line.rstrip())
    if size <= indent:
        return size
    roll = rng.random()
    if roll < 0.34:
        return indent
    if roll < 0.76:
        cuts = [m.start() for m in BOUNDARY.finditer(line, indent, size)]
        if cuts:
            return rng.choice(cuts)
    return rng.randint(indent, size - 1)


def statement_end(doc, line, most):
    """Last line of the statement that begins at `line`, by bracket depth (strings are ignored)."""
    depth = 0
    for i in range(line, min(line + most, len(doc.starts))):
        for ch in doc.line(i):
            if ch in OPENERS:
                depth += 1
            elif ch in ENDERS:
                depth -= 1
        if depth <= 0:
            return i
    return None


def block_end(doc, header, most):
    """Last line of the block under `header` by indentation, or None if there is no such block."""
    base = indent_of(doc.line(header))
    last = None
    for i in range(header + 1, min(header + 1 + most, len(doc.starts))):
        line = doc.line(i)
        if not line.strip():
            continue
        if indent_of(line) <= base:
            return last
        last = i
    return last if header + 1 + most >= len(doc.starts) else None


def pick_block(doc, line, rng):
    """(cursor, end) of a syntax-node-like span near `line`: a block's body, or a whole statement."""
    for header in range(line, max(-1, line - 12), -1):
        text = doc.line(header).rstrip()
        if not text or text[-1] not in ":{([>" and not text.endswith(("then", "do", "else")):
            continue
        last = block_end(doc, header, 22)
        if last is None:
            continue
        end = doc.line_end(last)
        roll = rng.random()
        if roll < 0.3:
            return doc.starts[header] + len(text), end      # cursor at the end of the header
        first = header + 1
        while not doc.line(first).strip():
            first += 1
        if roll < 0.75:                                     # cursor in the body's first line
            return doc.starts[first] + indent_of(doc.line(first)), end
        begin = rng.randint(first, last)                    # rest of the body
        return doc.starts[begin] + column_in(doc.line(begin), rng), end
    last = statement_end(doc, line, 14)
    if last is None or last == line:
        return None
    return doc.starts[line] + column_in(doc.line(line), rng), doc.line_end(last)


def pick_cursor(doc, low, high, rng):
    """(line, cursor, end): the middle is text[cursor:end], lines taken from [low, high)."""
    for _ in range(8):
        line = rng.randrange(low, high)
        text = doc.line(line)
        if text.strip() and not (COMMENT.match(text) and rng.random() < 0.6):
            break
    else:
        return None
    if len(text) > 400:
        return None
    start, stop = doc.starts[line], doc.line_end(line)
    roll = rng.random()
    for kind, share in KINDS:
        roll -= share
        if roll < 0:
            break
    content = start + len(text.rstrip())
    if kind == "block":
        found = pick_block(doc, line, rng)
        if found and found[1] - found[0] <= 1400:
            return doc.line_of(found[0]), found[0], found[1]
        kind = "rest"
    if kind == "blank":                                     # an empty line where lines are missing
        last = line
        if rng.random() < 0.2:
            last = min(line + rng.randint(1, 4), len(doc.starts) - 1)
            while not doc.line(last).strip():
                last -= 1
        column = 0 if rng.random() < 0.6 else indent_of(text)
        return line, start + column, doc.line_end(last)
    if kind == "whole":
        last = line
        if rng.random() < 0.3:
            last = min(line + rng.randint(1, 4), len(doc.starts) - 1)
        end = doc.line_end(last)
        return line, start, min(end + 1, len(doc.text))
    if kind == "lines":
        last = min(line + rng.randint(1, 6), len(doc.starts) - 1)
        return line, start + column_in(text, rng), doc.line_end(last)
    if kind == "span":
        cursor = rng.randint(start, stop)
        end = min(len(doc.text), cursor + int(2 ** rng.uniform(1, 8.6)))
        return line, cursor, end
    if kind == "empty":
        return line, stop, stop
    cursor = start + column_in(text, rng)
    if kind == "inner" and cursor < content:
        rest = doc.text[cursor:content]
        tail = CLOSERS.search(rest)
        if tail and tail.start() > 0 and rng.random() < 0.7:
            return line, cursor, cursor + tail.start() + rng.randint(0, max(0, len(tail[0]) - 1))
        cuts = [m.start() for m in BOUNDARY.finditer(rest, 1)]
        if cuts:
            return line, cursor, cursor + rng.choice(cuts)
    return line, cursor, stop


class Sampler:
    """Builds samples. encode(text) -> list of ids; ids: control token name -> id.

    neighbours(document key, rng) yields (path, bytes) of other files of the repository.
    """

    def __init__(self, encode, ids, rng, options=None, neighbours=None):
        self.encode, self.rng = encode, rng
        self.options = options or Options()
        self.neighbours = neighbours
        self.end = ids["<|endoftext|>"]
        self.prefix, self.suffix = ids["<|fim_prefix|>"], ids["<|fim_suffix|>"]
        self.middle = ids["<|fim_middle|>"]
        self.repo, self.sep = ids["<|repo_name|>"], ids["<|file_sep|>"]
        self.chars_per_token = 3.2

    def of_document(self, text, repo, path, key=None):
        """All samples of one visit to a document: list of (tokens, codes)."""
        o, rng = self.options, self.rng
        doc = Document(text, repo, path)
        count = max(1, min(o.samples_most, int(len(text) / o.samples_chars + rng.random())))
        samples = []
        for i in range(count):
            low = i * len(doc.starts) // count
            high = max(low + 1, (i + 1) * len(doc.starts) // count)
            if rng.random() < o.plain:
                sample = self._plain(doc, low, key)
            else:
                sample = self._fim(doc, low, min(high, len(doc.starts)), key)
            if sample and len(sample[0]) <= o.max_tokens:
                samples.append(sample)
        return samples

    def _budget(self):
        roll = self.rng.random()
        for share, low, high in LENGTHS:
            roll -= share
            if roll < 0:
                break
        return self.rng.randint(low, high)

    def _text(self, out, text):
        ids = self.encode(text)
        if len(text) > 400:
            measured = len(text) / max(1, len(ids))
            self.chars_per_token += 0.02 * (measured - self.chars_per_token)
        out[0].extend(ids)
        out[1].extend([CODE_TEXT] * len(ids))

    @staticmethod
    def _control(out, token):
        out[0].append(token)
        out[1].append(CODE_NONE)

    def _header(self, out, doc, key, words_of, room):
        """Repository, snippets, path. Returns the tokens used."""
        o, rng = self.options, self.rng
        if rng.random() >= o.header:
            return
        if rng.random() >= o.path_only:
            self._control(out, self.repo)
            self._text(out, doc.repo.split("/")[-1] + "\n")
            if self.neighbours and room > 150 and rng.random() < o.snippets:
                self._snippets(out, key, words_of, room * rng.uniform(0.2, 0.55))
        self._control(out, self.sep)
        self._text(out, doc.path + "\n")

    def _snippets(self, out, key, words_of, room):
        rng = self.rng
        wanted = set(WORD.findall(words_of))
        scored = []
        for path, raw in self.neighbours(key, rng):
            window = snippet_window(raw, rng)
            if not window:
                continue
            words = set(WORD.findall(window))
            score = len(words & wanted) / (8 + len(words)) ** 0.5
            scored.append((score + 0.15 * rng.random(), path, window))
        scored.sort(reverse=True)
        room_chars = room * self.chars_per_token
        chosen = []
        for score, path, window in scored[:rng.randint(1, 4)]:
            if len(window) > room_chars:
                window = window[:int(room_chars)]
                window = window[:window.rfind("\n") + 1]
                if len(window) < 60:
                    break
            room_chars -= len(window)
            chosen.append((path, window))
        for path, window in reversed(chosen):               # least relevant first
            self._control(out, self.sep)
            self._text(out, path + "\n" + window.rstrip("\n") + "\n")

    def _plain(self, doc, low, key):
        out = ([], [])
        budget = self._budget()
        start = doc.starts[low] if low and self.rng.random() < 0.7 else 0
        chars = int((budget - 30) * self.chars_per_token)
        text = doc.text[start:start + chars]
        ends = start + chars >= len(doc.text)
        if not ends:
            text = text[:text.rfind("\n") + 1] or text
        if self.rng.random() < 0.5:
            self._header(out, doc, key, text[:1500], 0)
            if out[0]:                                       # path line and text are one segment
                while out[0] and out[0][-1] != self.sep:
                    out[0].pop(), out[1].pop()
                text = doc.path + "\n" + text
        self._text(out, text)
        if ends:
            out[0].append(self.end)
            out[1].append(CODE_TEXT)
        return self._cut(out)

    def _cut(self, out):
        most = self.options.max_tokens
        return out if len(out[0]) <= most else (out[0][:most], out[1][:most])

    def _fim(self, doc, low, high, key):
        rng, text = self.rng, doc.text
        picked = pick_cursor(doc, low, high, rng)
        if not picked:
            return None
        line, cursor, end = picked
        start = typed_start(doc, line, cursor, self.options, rng)
        last_ids = self.encode(text[start:end])
        typed = shared_start(self.encode(text[start:cursor]), last_ids)
        budget = self._budget()
        room = budget - len(last_ids) - 8
        if room < 40:
            room = min(self.options.max_tokens - len(last_ids) - 60, 400)
            if room < 40:
                return None
        share = rng.uniform(0.12, 0.5)
        if rng.random() < self.options.suffix_none:
            share = 0.0
        out = ([], [])
        before = text[max(0, start - 1200):start] + text[end:end + 400]
        self._header(out, doc, key, before, room)
        room -= len(out[0])
        chars = max(60, room * self.chars_per_token)
        suffix_chars = int(chars * share)
        suffix = window_after(text, end, suffix_chars)
        prefix_chars = int(chars - min(len(suffix), suffix_chars))
        prefix = window_before(text, start, prefix_chars)
        suffix_ids = self.encode(suffix) if suffix else []
        prefix_ids = self.encode(prefix) if prefix else []
        most = self.options.max_tokens
        for _ in range(4):
            over = len(out[0]) + len(suffix_ids) + len(prefix_ids) + len(last_ids) + 4 - most
            if over <= 0:
                break
            if len(prefix) > 200:
                cut = int(over * 1.3 * len(prefix) / max(1, len(prefix_ids))) + 40
                prefix = window_before(prefix, len(prefix), max(0, len(prefix) - cut))
                prefix_ids = self.encode(prefix) if prefix else []
            else:
                suffix = window_after(suffix, 0, len(suffix) // 2)
                suffix_ids = self.encode(suffix) if suffix else []
        else:
            return None
        self._control(out, self.prefix)
        out[0].extend(prefix_ids)
        out[1].extend([CODE_TEXT] * len(prefix_ids))
        self._control(out, self.suffix)
        out[0].extend(suffix_ids)
        out[1].extend([CODE_TEXT] * len(suffix_ids))
        self._control(out, self.middle)
        out[0].extend(last_ids)
        out[0].append(self.end)
        out[1].extend([CODE_TEXT] * typed + [CODE_MIDDLE] * (len(last_ids) - typed + 1))
        return out


def typed_start(doc, line, cursor, options, rng):
    """Where the typed part begins: the start of the line, or of its group of lines."""
    if line >= options.group and rng.random() < options.grouped:
        start = doc.starts[line // options.group * options.group]
        if cursor - start <= options.group_bytes:
            return start
    return doc.starts[line]


def shared_start(a, b):
    """How many tokens two lists begin with alike."""
    count = 0
    while count < min(len(a), len(b)) and a[count] == b[count]:
        count += 1
    return count


def window_before(text, stop, chars):
    """Up to `chars` characters that end at `stop` and begin at a line start."""
    if chars <= 0:
        return ""
    begin = stop - chars
    if begin <= 0:
        return text[:stop]
    cut = text.find("\n", begin, stop)
    return text[cut + 1:stop] if cut >= 0 else ""


def window_after(text, start, chars):
    """About `chars` characters from `start`, ending after a newline (the first one at least)."""
    if chars <= 0:
        return ""
    if start + chars >= len(text):
        return text[start:]
    cut = text.rfind("\n", start, start + chars)
    if cut <= start:
        cut = text.find("\n", start + 1, start + 400)
        if cut < 0:
            return text[start:start + chars]
    return text[start:cut + 1]


def snippet_window(raw, rng):
    """A window of whole lines (10 to 60) somewhere in a file's bytes, or ''."""
    lines = rng.randint(10, 60)
    size = lines * 42
    at = 0 if len(raw) <= size or rng.random() < 0.25 else rng.randrange(len(raw) - size // 2)
    part = raw[at:at + size]
    if at:
        part = part[part.find(b"\n") + 1:]
    if at + size < len(raw):
        part = part[:part.rfind(b"\n") + 1]
    return part.decode("utf-8", "ignore")


def asked_by_fimd(prefix, suffix, middle):
    """An evaluation item as fimd asks for it: (prefix, typed, suffix, middle). An empty line stands
    where whole lines are missing; the lines of the cursor's group are typed."""
    if middle.endswith("\n") and (prefix.endswith("\n") or not prefix):
        middle, suffix = middle[:-1], "\n" + suffix
    starts = [0]
    while (at := prefix.find("\n", starts[-1])) >= 0:
        starts.append(at + 1)
    cut = starts[-1]
    if len(starts) > Options.group:
        group = starts[(len(starts) - 1) // Options.group * Options.group]
        if len(prefix) - group <= Options.group_bytes:
            cut = group
    return prefix[:cut], prefix[cut:], suffix, middle


def prompt_sample(encode, ids, prefix, suffix, middle, typed="", repo=None, path=None,
                  max_tokens=2048):
    """An evaluation sample in fimd's layout: (tokens, codes); only the middle counts."""
    out = ([], [])
    if repo:
        out[0].extend([ids["<|repo_name|>"]] + encode(repo + "\n"))
    if path:
        out[0].extend([ids["<|file_sep|>"]] + encode(path + "\n"))
    last = encode(typed + middle) if typed + middle else []
    shared = shared_start(encode(typed) if typed else [], last)
    room = max_tokens - len(out[0]) - len(last) - 4
    suffix_ids = encode(suffix)[:max(0, room // 3)] if suffix else []
    prefix_ids = encode(prefix) if prefix else []
    keep = room - len(suffix_ids)
    prefix_ids = prefix_ids[-keep:] if keep > 0 else []
    out[0].extend([ids["<|fim_prefix|>"]] + prefix_ids + [ids["<|fim_suffix|>"]] + suffix_ids +
                  [ids["<|fim_middle|>"]])
    out[1].extend([CODE_NONE] * len(out[0]))
    out[0].extend(last + [ids["<|endoftext|>"]])
    out[1].extend([CODE_NONE] * shared + [CODE_MIDDLE] * (len(last) - shared + 1))
    return out
