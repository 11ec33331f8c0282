// The pictures of docs/images. They are kept with the others: see `run` for where, and copy them from there.
import { ghost, settle } from './lib/harness.mjs';

const shapes = `def area(width, height):
    return width * height|


def volume(width, height, depth):
    return area(width, height) * depth


def surface(width, height, depth):
    return 2 * (area(width, height) + area(width, depth) + area(height, depth))
`;

const library = `from dataclasses import dataclass
from typing import Optional


@dataclass
class Book:
    title: str
    author: str
    borrower: Optional[str] = None


class Library:
    def __init__(self):
        self.books: list[Book] = []

    def add(self, book: Book) -> None:
        self.books.append(book)

    def find(self, title: str) -> Optional[Book]:
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
      await e.type(' find_borrower(self, borrower: str) -> Optional[Book]:\n');
      await ghost(e, since);
      await settle(e, since);
      await ghost(e, since);
      await e.session.page.screenshot({ path: e.picture('vscode-suggestion') });
    },
  },
  {
    name: 'picture of a proposal',
    files: { 'shapes.py': shapes },
    settings: { 'editor.fontSize': 11 },
    async run(e) {
      await e.palette('fimd: Document');
      await e.wait('the proposal', () =>
        e.page.evaluate(() => /Alt\+Enter accepts/.test(document.querySelector('.statusbar').textContent)),
      );
      await e.wait('the hunk', () => e.page.locator('.line-insert').count());
      await e.wait('no message in front', async () => (await e.notifications()).length === 0);
      await e.session.page.screenshot({ path: e.picture('vscode-proposal') });
      await e.press('Alt+Backspace');
      await e.wait('the file', async () => (await e.state()).scheme === 'file');
    },
  },
];
