// Stands between the extension and `fimd lsp`, and writes down every message of both sides.
// usage: node spy.mjs PROGRAM LOG ARGUMENT...
import { spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { constants } from 'node:os';

const [program, log, ...args] = process.argv.slice(2);
const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });

/** A function that takes a stream's pieces and logs the messages in it. */
function recorder(from) {
  let pending = Buffer.alloc(0);
  return (piece) => {
    pending = Buffer.concat([pending, piece]);
    for (;;) {
      const end = pending.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = Number(/content-length: *(\d+)/i.exec(pending.subarray(0, end).toString())?.[1]);
      if (!(pending.length >= end + 4 + length)) return;
      const message = JSON.parse(pending.subarray(end + 4, end + 4 + length).toString());
      pending = pending.subarray(end + 4 + length);
      appendFileSync(log, JSON.stringify({ from, pid: process.pid, message }) + '\n');
    }
  };
}

function pass(source, target, from) {
  const record = recorder(from);
  source.on('data', (piece) => {
    record(piece);
    target.write(piece);
  });
  source.on('end', () => target.end());
  target.on('error', () => source.destroy());
}

pass(process.stdin, child.stdin, 'editor');
pass(child.stdout, process.stdout, 'fimd');
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
