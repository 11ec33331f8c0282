// What fimd/status says, and how it is put into words.

export type State = 'off' | 'snoozed' | 'starting' | 'loading' | 'idle' | 'generating' | 'error';

export interface Status {
  state: State;
  message?: string;
  percent?: number;
  model?: string;
  backend?: string;
  tokensPerSecond?: number;
  cacheHitRate?: number;
  /** Whether the model takes more commands than `document`. */
  canChat?: boolean;
}

const states: readonly string[] = ['loading', 'idle', 'generating', 'error'];

/** A status from a notification's parameters; undefined if they make no sense. */
export function parseStatus(params: unknown): Status | undefined {
  if (typeof params !== 'object' || params === null) return undefined;
  const given = params as Record<string, unknown>;
  if (typeof given.state !== 'string' || !states.includes(given.state)) return undefined;
  const status: Status = { state: given.state as State };
  for (const key of ['message', 'model', 'backend'] as const) {
    const value = given[key];
    if (typeof value === 'string' && value !== '') status[key] = value;
  }
  for (const key of ['percent', 'tokensPerSecond', 'cacheHitRate'] as const) {
    const value = given[key];
    if (typeof value === 'number' && Number.isFinite(value)) status[key] = value;
  }
  if (typeof given.canChat === 'boolean') status.canChat = given.canChat;
  return status;
}

/** The text of the status bar item, with VS Code's icons. */
export function barText(status: Status, suits: boolean, snoozedMinutes: number): string {
  switch (status.state) {
    case 'off':
      return '$(circle-slash) fimd';
    case 'snoozed':
      return `$(bell-slash) fimd ${snoozedMinutes} min`;
    case 'starting':
      return '$(loading~spin) fimd';
    case 'loading':
      return status.percent === undefined
        ? '$(loading~spin) fimd'
        : `$(loading~spin) fimd ${Math.round(status.percent)}%`;
    case 'generating':
      return '$(sync~spin) fimd';
    case 'error':
      return '$(error) fimd';
    case 'idle':
      return suits ? '$(zap) fimd' : '$(circle-slash) fimd';
  }
}

/** What the state is called where there is room for words. */
export function stateText(status: Status, suits: boolean, snoozedMinutes: number): string {
  switch (status.state) {
    case 'off':
      return 'Suggestions are off';
    case 'snoozed':
      return `Snoozed for another ${snoozedMinutes} min`;
    case 'starting':
      return 'Starting';
    case 'loading':
      return status.percent === undefined
        ? 'Loading the model'
        : `Loading the model: ${Math.round(status.percent)} %`;
    case 'generating':
      return 'Generating';
    case 'error':
      return 'Error';
    case 'idle':
      return suits ? 'Ready' : 'Off in this file';
  }
}

/** Label and value of what is known about model and speed. */
export function details(status: Status): [string, string][] {
  const rows: [string, string][] = [];
  if (status.message !== undefined) rows.push(['Message', status.message]);
  if (status.model !== undefined) rows.push(['Model', status.model]);
  if (status.backend !== undefined) rows.push(['Backend', status.backend]);
  if ((status.tokensPerSecond ?? 0) > 0) {
    rows.push(['Speed', `${Math.round(status.tokensPerSecond ?? 0)} tokens/s`]);
  }
  if ((status.cacheHitRate ?? 0) > 0) {
    rows.push(['Cache', `${Math.round(100 * (status.cacheHitRate ?? 0))} % of prompt tokens reused`]);
  }
  return rows;
}
