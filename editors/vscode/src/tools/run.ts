// Runs the fimd program for its output.
import { execFile } from 'node:child_process';
import type { Client } from '../client';
import { missingMessage } from '../binary';

export interface Output {
  program: string;
  code: number;
  text: string;
}

export async function runProgram(client: Client, args: string[]): Promise<Output> {
  const program = await client.program();
  if (program === undefined) throw new Error(missingMessage(client.surroundings()));
  return new Promise((resolve) => {
    execFile(program, args, { timeout: 120_000, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
      const why = error && code === -1 ? `\n${error.message}` : '';
      resolve({ program, code, text: `${stdout}${stderr}${why}` });
    });
  });
}
