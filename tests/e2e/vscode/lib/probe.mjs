// The tests' side of the probe extension: its methods over a Unix socket.
import { connect } from 'node:net';
import { waitFor } from './wait.mjs';

export class Probe {
  #path;
  #socket;
  #next = 0;
  #waiting = new Map();

  constructor(path) {
    this.#path = path;
  }

  /** Connects once the editor has started the probe. */
  async connect(timeout = 60_000) {
    await waitFor('the probe extension', () => this.#try(), { timeout });
  }

  #try() {
    return new Promise((resolve) => {
      const socket = connect(this.#path);
      let buffered = '';
      socket.setEncoding('utf8');
      socket.on('connect', () => {
        this.#socket = socket;
        resolve(true);
      });
      socket.on('data', (data) => {
        const lines = (buffered + data).split('\n');
        buffered = lines.pop();
        for (const line of lines) this.#settle(JSON.parse(line));
      });
      const gone = () => {
        for (const { reject } of this.#waiting.values()) reject(new Error('the probe has gone'));
        this.#waiting.clear();
        resolve(false);
      };
      socket.on('error', gone);
      socket.on('close', gone);
    });
  }

  #settle({ id, result, error }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error !== undefined) waiting?.reject(new Error(error));
    else waiting?.resolve(result);
  }

  call(method, params) {
    return new Promise((resolve, reject) => {
      const id = ++this.#next;
      this.#waiting.set(id, { resolve, reject });
      this.#socket.write(JSON.stringify({ id, method, params }) + '\n');
    });
  }

  close() {
    this.#socket?.destroy();
  }
}
