// What of a suggestion that is still being written is worth showing. Pure functions.

/** How long to wait for the whole once a first line is there, or some text at all. */
export const lineGraceMs = 30;
export const textPatienceMs = 200;

/** The whole lines of a text that goes on, or all of it while there is only one. */
export function wholeLines(text: string): string {
  const first = text.search(/\S/);
  const end = text.lastIndexOf('\n');
  if (first < 0 || end < first) return text;
  return text.slice(0, end).replace(/\s+$/, '');
}

/**
 * When to show a text that is still being written: after so many milliseconds, counted from now,
 * or undefined for not yet.
 */
export function showAfterMs(text: string, elapsedMs: number): number | undefined {
  if (text.trim() === '') return undefined;
  if (wholeLines(text) !== text) return lineGraceMs;
  return Math.max(0, textPatienceMs - elapsedMs);
}
