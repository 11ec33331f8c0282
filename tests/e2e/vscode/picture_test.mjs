// The pictures of docs/images. They are kept with the others: see `run` for where, and copy them from there.
import { ghost, settle } from './lib/harness.mjs';

const inventory = `"""A small inventory of parts."""
import csv


class Inventory:
    """Parts and how many of each there are."""

    def __init__(self):
        self.parts = {}

    def add(self, name, count):
        self.parts[name] = self.parts.get(name, 0) + count

    def load(self, path):
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                self.add(row["name"], int(row["count"]))

    def save(self, path):
        |
`;

const library = `from dataclasses import dataclass


@dataclass
class Book:
    title: str
    author: str
    borrower: str | None = None


class Library:
    def __init__(self):
        self.books: list[Book] = []

    def add(self, book: Book) -> None:
        self.books.append(book)

    def find(self, title: str) -> Book | None:
        for book in self.books:
            if book.title == title:
                return book
        return None

    def |
`;

export default [
  {
    name: 'picture of a suggestion',
    files: { 'library.py': library.replace(' |', '|') },
    settings: { 'editor.autoClosingBrackets': 'never' },
    async run(e) {
      const since = e.wire.mark();
      await e.type(' find_borrower(self, borrower: str) -> Book | None:\n');
      await ghost(e, since);
      await settle(e, since);
      await ghost(e, since);
      await e.session.page.screenshot({ path: e.picture('vscode-suggestion') });
    },
  },
  {
    name: 'picture of a proposal',
    files: {
      'inventory.py': inventory
        .replace('def load', 'def lo|ad')
        .replace('        |\n', '        with open(path, "w", newline="") as file:\n            ...\n'),
    },
    async run(e) {
      await e.palette('fimd: Document');
      await e.wait('the proposal', () =>
        e.page.evaluate(() => /Alt\+Enter accepts/.test(document.querySelector('.statusbar').textContent)),
      );
      await e.wait('the hunk', () => e.page.locator('.line-insert').count());
      await e.session.page.screenshot({ path: e.picture('vscode-proposal') });
      await e.press('Alt+Backspace');
      await e.wait('the file', async () => (await e.state()).scheme === 'file');
    },
  },
];
