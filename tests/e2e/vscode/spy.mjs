// Stands between the extension and `fimd lsp`, and writes down every message of both sides.
// usage: node spy.mjs PROGRAM LOG ARGUMENT...
// A file `pace` beside the log has the milliseconds that each piece of a suggestion takes from then on.
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const [program, log, ...args] = process.argv.slice(2);
const pace = join(dirname(log), 'pace');
const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });

/** A function that takes a stream's pieces and gives away the messages in it, with their bytes. */
function framer(take) {
  let pending = Buffer.alloc(0);
  return (piece) => {
    pending = Buffer.concat([pending, piece]);
    for (;;) {
      const end = pending.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = Number(/content-length: *(\d+)/i.exec(pending.subarray(0, end).toString())?.[1]);
      if (!(pending.length >= end + 4 + length)) return;
      const bytes = pending.subarray(0, end + 4 + length);
      pending = pending.subarray(end + 4 + length);
      take(JSON.parse(bytes.subarray(end + 4).toString()), bytes);
    }
  };
}

function record(from, message) {
  appendFileSync(log, JSON.stringify({ at: Date.now(), from, pid: process.pid, message }) + '\n');
}

/** How long to hold a message of fimd back. */
function delay({ method, params }) {
  if (method !== '$/progress' || !Array.isArray(params.value?.items ?? params.value)) return 0;
  return existsSync(pace) ? Number(readFileSync(pace, 'utf8')) : 0;
}

const fromEditor = framer((message) => record('editor', message));
process.stdin.on('data', (piece) => {
  fromEditor(piece);
  child.stdin.write(piece);
});
process.stdin.on('end', () => child.stdin.end());
child.stdin.on('error', () => process.stdin.destroy());

let sent = Promise.resolve(); // all messages so far, in order
const fromFimd = framer((message, bytes) => {
  sent = sent.then(async () => {
    const ms = delay(message);
    if (ms > 0) await pause(ms);
    record('fimd', message);
    process.stdout.write(bytes);
  });
});
child.stdout.on('data', fromFimd);
process.stdout.on('error', () => child.stdout.destroy());

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('close', async (code, signal) => {
  await sent;
  process.exit(code ?? 128 + constants.signals[signal]);
});
