// What of a suggestion that is still being written is worth showing, and when. Pure functions.

/** How long to wait for the whole once a first line is there, or some text at all. */
export const lineGraceMs = 30;
export const textPatienceMs = 200;
/** The least time between two steps of a growing suggestion. */
export const stepMs = 120;

/** The whole lines of a text that goes on, or all of it while there is only one. */
export function wholeLines(text: string): string {
  const first = text.search(/\S/);
  const end = text.lastIndexOf('\n');
  if (first < 0 || end < first) return text;
  return text.slice(0, end).replace(/\s+$/, '');
}

/**
 * When to show a text that is still being written: after so many milliseconds, counted from now, or
 * undefined for not yet. `shown` is what of it is shown already; `elapsedMs` counts since that was
 * shown, or since the question while nothing is.
 */
export function showAfterMs(text: string, shown: string, elapsedMs: number): number | undefined {
  const part = wholeLines(text);
  if (part.trim() === '' || part === shown || !part.startsWith(shown)) return undefined;
  if (shown !== '') return Math.max(0, stepMs - elapsedMs);
  return part === text ? Math.max(0, textPatienceMs - elapsedMs) : lineGraceMs;
}
