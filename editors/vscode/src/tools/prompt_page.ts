// The page that shows a prompt. Pure functions.

export interface Explanation {
  parts: { name: string; text: string; tokens: number }[];
  rendered: string;
  fimFormat: string;
  multiLine: boolean;
  modeReason?: string;
}

/** fimd/report, as far as it is shown. */
export interface Report {
  source: string;
  outcome: string;
  promptTokens: number;
  cachedTokens: number;
  computedTokens: number;
  decodedTokens: number;
  firstTextMs: number;
  totalMs: number;
}

export function isReport(value: unknown): value is Report {
  const given = value as Partial<Report> | null | undefined;
  return typeof given?.source === 'string' && typeof given.promptTokens === 'number';
}

/** One line about the cost of a suggestion. */
export function costLine(report: Report): string {
  const { promptTokens, cachedTokens, computedTokens, decodedTokens, firstTextMs, totalMs } = report;
  if (report.source !== 'model') return `from ${report.source}, ${totalMs.toFixed(1)} ms`;
  return (
    `${promptTokens} prompt tokens (${cachedTokens} cached, ${computedTokens} computed), ` +
    `${decodedTokens} generated; first text after ${firstTextMs.toFixed(0)} ms, all after ${totalMs.toFixed(0)} ms`
  );
}

/** The text of the page: what is in the prompt, what it cost, and the prompt as the model reads it. */
export function promptPage(place: string, explanation: Explanation, report: Report | undefined): string {
  const total = explanation.parts.reduce((sum, { tokens }) => sum + tokens, 0);
  const reason = explanation.modeReason === undefined ? '' : ` (${explanation.modeReason})`;
  const rows = [...explanation.parts, { name: 'in all', tokens: total }];
  const lines = [
    `The prompt for ${place}`,
    `in ${explanation.fimFormat} form, ${explanation.multiLine ? 'several lines' : 'one line'} wanted${reason}`,
    '',
    ...rows.map(({ name, tokens }) => `${String(tokens).padStart(7)} tokens  ${name}`),
    '',
  ];
  if (report) lines.push(`The last suggestion: ${costLine(report)}`, '');
  lines.push('--- the exact prompt ---', explanation.rendered, '--- end of the prompt ---', '');
  return lines.join('\n');
}
