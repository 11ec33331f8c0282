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
#include "tests/engine/hyper_parameters.h"

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
  std::string quantization;
  const SyntheticShape* found = find_synthetic(name, &quantization);
  if (found == nullptr) return fail("unknown model " + name);
  const auto vocabulary = GgufFile::open(argv[2]);
  if (!vocabulary.ok()) return fail(vocabulary.error().message);
  SyntheticShape shape = *found;
  const auto tokens = (*vocabulary)->strings("tokenizer.ggml.tokens");
  if (!tokens.ok()) return fail(tokens.error().message);
  shape.vocab = std::max(shape.vocab, static_cast<int>(tokens->size()));
  SyntheticModel model(shape, quantization);
  const ModelSpec& spec = model.spec();

  test::GgufWriter writer;
  test::add_hyper_parameters(spec.architecture, shape, spec.context_length, 1e-6F, 1e6F, &writer);
  writer.add_string("general.name", spec.name);
  if (shape.hybrid()) {
    test::add_hybrid_parameters(spec.architecture, shape, SyntheticModel::kConvKernel, &writer);
  }
  copy_vocabulary(**vocabulary, &writer);

  const auto tensors = model.tensors();
  for (const auto& [tensor_name, weight] : tensors) {
    std::vector<uint64_t> dims = {static_cast<uint64_t>(weight->cols)};
    if (weight->rows > 1) dims.push_back(static_cast<uint64_t>(weight->rows));
    writer.describe_tensor(tensor_name, dims, static_cast<uint32_t>(weight->type), weight->bytes);
  }
  std::ofstream out(argv[3], std::ios::binary);
  const std::vector<std::byte> header = writer.bytes();
  out.write(reinterpret_cast<const char*>(header.data()),
            static_cast<std::streamsize>(header.size()));
  for (const auto& [tensor_name, weight] : tensors) {
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
