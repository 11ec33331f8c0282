// A proposed edit in pieces that are accepted or rejected one by one. Pure functions and values.
import { diffLines, splitLines } from './lines';

export type Verdict = 'open' | 'accepted' | 'rejected';

export interface Hunk {
  /** First line of the document that it replaces, and the one after the last. */
  begin: number;
  end: number;
  removed: string[];
  added: string[];
  verdict: Verdict;
}

/** Changes with at most this many equal lines between them are one hunk. */
const maxGap = 1;

/**
 * The hunks that turn `before` into `after`; `firstLine` is the document's line where `before` begins.
 */
export function makeHunks(before: string, after: string, firstLine: number): Hunk[] {
  const [oldLines, newLines] = [splitLines(before), splitLines(after)];
  const groups: { oldBegin: number; oldEnd: number; newBegin: number; newEnd: number }[] = [];
  for (const change of diffLines(oldLines, newLines)) {
    const last = groups.at(-1);
    if (last && change.oldBegin - last.oldEnd <= maxGap) {
      last.oldEnd = change.oldEnd;
      last.newEnd = change.newEnd;
    } else {
      groups.push({ ...change });
    }
  }
  return groups.map((group) => ({
    begin: firstLine + group.oldBegin,
    end: firstLine + group.oldEnd,
    removed: oldLines.slice(group.oldBegin, group.oldEnd),
    added: newLines.slice(group.newBegin, group.newEnd),
    verdict: 'open',
  }));
}

/** The document's lines with all hunks that are not rejected. */
export function applyHunks(lines: string[], hunks: readonly Hunk[]): string[] {
  const out: string[] = [];
  let at = 0;
  for (const hunk of hunks) {
    if (hunk.verdict === 'rejected') continue;
    out.push(...lines.slice(at, hunk.begin), ...hunk.added);
    at = hunk.end;
  }
  out.push(...lines.slice(at));
  return out;
}

/** Where each hunk that is not rejected begins and ends in the result of applyHunks. */
export function placesAfter(hunks: readonly Hunk[]): { hunk: Hunk; begin: number; end: number }[] {
  let shift = 0;
  const places = [];
  for (const hunk of hunks) {
    if (hunk.verdict === 'rejected') continue;
    const begin = hunk.begin + shift;
    places.push({ hunk, begin, end: begin + hunk.added.length });
    shift += hunk.added.length - hunk.removed.length;
  }
  return places;
}

/** The hunk at a line of the result, else the next one that is still open, else the last open one. */
export function hunkAt(hunks: readonly Hunk[], line: number): Hunk | undefined {
  const places = placesAfter(hunks).filter(({ hunk }) => hunk.verdict === 'open');
  const hit = places.find(({ begin, end }) => line < Math.max(end, begin + 1));
  return (hit ?? places.at(-1))?.hunk;
}

/** Whether the document still has the lines that the hunks replace, at the same place. */
export function stillFits(lines: string[], hunks: readonly Hunk[]): boolean {
  return hunks.every((hunk) => {
    const there = lines.slice(hunk.begin, hunk.end);
    return there.length === hunk.removed.length && there.every((line, i) => line === hunk.removed[i]);
  });
}
