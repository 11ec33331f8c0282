// Draws media/icon.png: a line of code, the cursor, and the ghost text behind it.
// usage: node scripts/icon.mjs
import { writeFileSync } from 'node:fs';
import { crc32, deflateSync } from 'node:zlib';

const size = 256;
const samples = 4; // per axis and pixel

// Rounded rectangles from back to front: x, y, width, height, radius, red, green, blue.
const shapes = [
  [0, 0, 256, 256, 48, 18, 36, 31],
  [40, 74, 76, 20, 10, 126, 231, 190],
  [40, 118, 52, 20, 10, 126, 231, 190],
  [104, 104, 10, 48, 5, 255, 255, 255],
  [126, 118, 92, 20, 10, 74, 118, 104],
  [64, 162, 120, 20, 10, 74, 118, 104],
];

function inside([x, y, width, height, radius], px, py) {
  const dx = Math.max(x + radius - px, 0, px - (x + width - radius));
  const dy = Math.max(y + radius - py, 0, py - (y + height - radius));
  return dx * dx + dy * dy <= radius * radius;
}

/** Red, green, blue and alpha of one pixel. */
function pixel(column, row) {
  const sum = [0, 0, 0, 0];
  for (let i = 0; i < samples * samples; ++i) {
    const px = column + ((i % samples) + 0.5) / samples;
    const py = row + (Math.floor(i / samples) + 0.5) / samples;
    const shape = shapes.findLast((candidate) => inside(candidate, px, py));
    if (!shape) continue;
    for (let channel = 0; channel < 3; ++channel) sum[channel] += shape[5 + channel];
    sum[3] += 255;
  }
  const covered = sum[3] / 255;
  const color = sum.slice(0, 3).map((value) => Math.round(value / Math.max(1, covered)));
  return [...color, Math.round(sum[3] / (samples * samples))];
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), body.length + 4);
  return out;
}

const header = Buffer.alloc(13);
header.writeUInt32BE(size, 0);
header.writeUInt32BE(size, 4);
header.set([8, 6, 0, 0, 0], 8); // 8 bits, red green blue alpha

const rows = [];
for (let row = 0; row < size; ++row) {
  rows.push(0); // no filter
  for (let column = 0; column < size; ++column) rows.push(...pixel(column, row));
}
writeFileSync(
  new URL('../media/icon.png', import.meta.url),
  Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(Buffer.from(rows), { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]),
);
