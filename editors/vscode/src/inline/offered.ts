// What was offered for a document, to see which part of it was accepted. VS Code tells a stable
// extension only of whole acceptances; accepting a word or a line is seen as a change that inserts
// more than one character, all of them the suggestion's. Pure but for its types.

export interface Offer<Item> {
  item: Item;
  /** The whole text, from the start of the item's range, with \n between lines. */
  text: string;
  line: number;
  character: number;
}

export interface Insertion {
  /** What the document has from the start of the offer to the end of the inserted text. */
  text: string;
  /** How many characters the change inserted. */
  length: number;
}

/** The length of the offer that is accepted by now; undefined if the change is something else. */
export function acceptedLength(offered: string, insertion: Insertion): number | undefined {
  const text = insertion.text.replace(/\r\n/g, '\n');
  if (insertion.length < 2 || text.length >= offered.length) return undefined; // typed, or all of it
  return offered.startsWith(text) ? text.length : undefined;
}
