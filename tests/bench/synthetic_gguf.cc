// Writes a model file of a real model's shape with random weights and another model's vocabulary,
// to measure whole sessions at sizes whose real models are not at hand.
//
// usage: synthetic_gguf SHAPE-QUANTIZATION VOCABULARY.gguf OUT.gguf     e.g. 7b-q4_k_m
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "engine/gguf.h"
#include "tests/bench/synthetic_models.h"
#include "tests/engine/gguf_writer.h"

namespace fimd::bench {
namespace {

int fail(const std::string& message) {
  std::fprintf(stderr, "synthetic_gguf: %s\n", message.c_str());
  return 1;
}

/// Everything that fimd reads of a vocabulary.
void copy_vocabulary(const GgufFile& from, test::GgufWriter* to) {
  for (const char* key :
       {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.chat_template"}) {
    if (const auto text = from.string(key); text.ok()) to->add_string(key, *text);
  }
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    if (const auto list = from.strings(key); list.ok()) {
      to->add_strings(key, {list->begin(), list->end()});
    }
  }
  if (const auto types = from.integers("tokenizer.ggml.token_type"); types.ok()) {
    to->add_i32s("tokenizer.ggml.token_type", {types->begin(), types->end()});
  }
  for (const char* key : {"bos", "eos", "eot", "eom", "fim_pre", "fim_suf", "fim_mid", "fim_pad",
                          "fim_rep", "fim_sep"}) {
    const std::string name = std::string("tokenizer.ggml.") + key + "_token_id";
    if (const auto id = from.integer(name); id.ok()) to->add_u32(name, static_cast<uint32_t>(*id));
  }
  if (const auto add = from.boolean("tokenizer.ggml.add_bos_token"); add.ok()) {
    to->add_bool("tokenizer.ggml.add_bos_token", *add);
  }
}

int run(int argc, char** argv) {
  if (argc != 4) {
    return fail("usage: synthetic_gguf SHAPE-QUANTIZATION VOCABULARY.gguf OUT.gguf");
  }
  const std::string name = argv[1];
  const size_t dash = name.find('-');
  const auto& shapes = synthetic_shapes();
  const auto found = std::find_if(shapes.begin(), shapes.end(),
                                  [&](const auto& s) { return s.name == name.substr(0, dash); });
  if (found == shapes.end() || dash == std::string::npos) return fail("unknown model " + name);
  const auto vocabulary = GgufFile::open(argv[2]);
  if (!vocabulary.ok()) return fail(vocabulary.error().message);
  SyntheticShape shape = *found;
  const auto tokens = (*vocabulary)->strings("tokenizer.ggml.tokens");
  if (!tokens.ok()) return fail(tokens.error().message);
  shape.vocab = std::max(shape.vocab, static_cast<int>(tokens->size()));
  const SyntheticModel model(shape, name.substr(dash + 1));
  const ModelSpec& spec = model.spec();

  test::GgufWriter writer;
  writer.add_string("general.architecture", "qwen2");
  writer.add_string("general.name", spec.name);
  const auto u32 = [&](const char* key, int64_t value) {
    writer.add_u32(std::string("qwen2.") + key, static_cast<uint32_t>(value));
  };
  u32("block_count", shape.layers);
  u32("context_length", spec.context_length);
  u32("embedding_length", shape.hidden);
  u32("feed_forward_length", shape.ff);
  u32("attention.head_count", shape.heads);
  u32("attention.head_count_kv", shape.kv_heads);
  u32("attention.key_length", shape.head_dim);
  writer.add_f32("qwen2.attention.layer_norm_rms_epsilon", 1e-6F);
  writer.add_f32("qwen2.rope.freq_base", 1e6F);
  copy_vocabulary(**vocabulary, &writer);

  std::vector<const Weight*> order;
  const auto tensor = [&](const std::string& tensor_name, const Weight& weight) {
    std::vector<uint64_t> dims = {static_cast<uint64_t>(weight.cols)};
    if (weight.rows > 1) dims.push_back(static_cast<uint64_t>(weight.rows));
    writer.describe_tensor(tensor_name, dims, static_cast<uint32_t>(weight.type), weight.bytes);
    order.push_back(&weight);
  };
  tensor("token_embd.weight", spec.embedding);
  if (!spec.tied) tensor("output.weight", spec.output);
  tensor("output_norm.weight", spec.output_norm.weight);
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const Block& block = spec.blocks[i];
    const auto& attention = std::get<Attention>(block.mixer);
    const auto& mlp = std::get<SwiGlu>(block.mlp);
    const std::string blk = "blk." + std::to_string(i) + ".";
    tensor(blk + "attn_norm.weight", block.mixer_norm.weight);
    tensor(blk + "ffn_norm.weight", block.mlp_norm.weight);
    tensor(blk + "attn_q.weight", attention.q);
    tensor(blk + "attn_k.weight", attention.k);
    tensor(blk + "attn_v.weight", attention.v);
    tensor(blk + "attn_output.weight", attention.o);
    tensor(blk + "attn_q.bias", attention.q_bias);
    tensor(blk + "attn_k.bias", attention.k_bias);
    tensor(blk + "attn_v.bias", attention.v_bias);
    tensor(blk + "ffn_gate.weight", mlp.gate);
    tensor(blk + "ffn_up.weight", mlp.up);
    tensor(blk + "ffn_down.weight", mlp.down);
  }
  std::ofstream out(argv[3], std::ios::binary);
  const std::vector<std::byte> header = writer.bytes();
  out.write(reinterpret_cast<const char*>(header.data()),
            static_cast<std::streamsize>(header.size()));
  for (const Weight* weight : order) {
    out.write(reinterpret_cast<const char*>(weight->data),
              static_cast<std::streamsize>(weight->bytes));
    const std::vector<char> padding((32 - weight->bytes % 32) % 32);
    out.write(padding.data(), static_cast<std::streamsize>(padding.size()));
  }
  out.flush();
  return out ? 0 : fail(std::string("cannot write ") + argv[3]);
}

}  // namespace
}  // namespace fimd::bench

int main(int argc, char** argv) { return fimd::bench::run(argc, argv); }
