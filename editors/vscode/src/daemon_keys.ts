// The daemon's settings that VS Code offers, by their names below `fimd.`.

export const daemonKeys = [
  'completion.multiLine',
  'completion.candidates',
  'completion.maxTokensSingleLine',
  'completion.maxTokensMultiLine',
  'completion.minMeanLogprob',
  'completion.timeoutMs',
  'completion.snippets',
  'completion.speculate',
  'completion.prefillOnChange',
  'completion.exclude',
  'model.path',
  'engine.backend',
  'engine.threads',
  'engine.contextLength',
  'engine.kvCacheMb',
] as const;

/** An object with a dotted key for every value that is there; empty texts are as good as none. */
export function mergeDaemonSettings(valueOf: (key: string) => unknown): Record<string, unknown> {
  const settings: Record<string, unknown> = { 'editor.reports': true }; // for the status bar's tooltip
  for (const key of daemonKeys) {
    const value = valueOf(key);
    if (value !== undefined && value !== null && value !== '') settings[key] = value;
  }
  return settings;
}
