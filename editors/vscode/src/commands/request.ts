// One of the daemon's commands, from the request to its answer. docs/protocol.md describes them.
import * as vscode from 'vscode';
import {
  type Diagnostic,
  LSPErrorCodes,
  ProgressType,
  type Range,
  ResponseError,
} from 'vscode-languageclient/node';
import type { Client } from '../client';

export type Verb = 'explain' | 'refactor' | 'fix' | 'document' | 'review';

export interface Argument {
  textDocument: { uri: string; version?: number };
  range: Range;
  instruction?: string;
  diagnostics?: Diagnostic[];
}

export type Answer =
  | { kind: 'markdown'; text: string; truncated?: boolean }
  | {
      kind: 'edit';
      title: string;
      textDocument: { uri: string; version: number };
      range: Range;
      newText: string;
    };

interface Piece {
  kind: string;
  text?: string;
}

const piece = new ProgressType<Piece>();
const silent: number[] = [LSPErrorCodes.RequestCancelled, LSPErrorCodes.ServerCancelled];
let count = 0;

/** Whether somebody cancelled, which they need not be told of. */
export function wasCancelled(error: unknown): boolean {
  return (
    error instanceof vscode.CancellationError ||
    (error instanceof ResponseError && silent.includes(error.code))
  );
}

/** Runs a command; `streamed` gets all of the text that is there so far, each time there is more. */
export async function ask(
  client: Client,
  verb: Verb,
  argument: Argument,
  streamed: (text: string) => void,
  token: vscode.CancellationToken,
): Promise<Answer> {
  const running = client.running;
  if (!running) throw new Error('fimd is not running; the status bar says why.');
  const partialResultToken = `fimd-command-${++count}`;
  let text = '';
  const progress = running.onProgress(piece, partialResultToken, (value) => {
    if (value.kind === 'start') text = '';
    else if (value.kind === 'text') text += value.text ?? '';
    streamed(text);
  });
  try {
    return await running.sendRequest<Answer>(
      'workspace/executeCommand',
      { command: `fimd.${verb}`, arguments: [{ ...argument, partialResultToken }] },
      token,
    );
  } finally {
    progress.dispose();
  }
}
