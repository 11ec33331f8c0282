#include "engine/memory_needs.h"

#include <doctest/doctest.h>

#include "engine/gguf.h"
#include "engine/models/registry.h"

namespace fimd {
namespace {

Weight weight(DType type, int64_t rows, int64_t cols) {
  const FormatInfo& format = *find_format(static_cast<uint32_t>(type));
  Weight w;
  w.type = type;
  w.rows = rows;
  w.cols = cols;
  w.bytes = row_bytes(format, cols) * static_cast<size_t>(rows);
  return w;
}

/// Whether Q4_K_M gives layer i of n the finer type.
bool finer(int i, int n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

/// Qwen3.6-27B as a Q4_K_M file holds it.
ModelSpec qwen36_27b() {
  constexpr int kLayers = 64;
  constexpr int64_t kHidden = 5120;
  constexpr int64_t kFf = 17408;
  ModelSpec spec;
  spec.hidden = kHidden;
  spec.vocab = 248320;
  spec.context_length = 262144;
  spec.embedding = weight(DType::kQ4_K, spec.vocab, kHidden);
  spec.output = weight(DType::kQ6_K, spec.vocab, kHidden);
  spec.output_norm.weight = weight(DType::kF32, 1, kHidden);
  int qkvs = 0;  // attn_v and attn_qkv tensors so far: one in each layer
  for (int i = 0; i < kLayers; ++i) {
    Block block;
    block.mixer_norm.weight = weight(DType::kF32, 1, kHidden);
    block.mlp_norm.weight = weight(DType::kF32, 1, kHidden);
    const DType fine = finer(qkvs++, kLayers) ? DType::kQ6_K : DType::kQ4_K;
    if ((i + 1) % 4 == 0) {
      Attention a;
      a.n_heads = 24;
      a.n_kv_heads = 4;
      a.head_dim = 256;
      a.output_gate = true;
      a.q = weight(DType::kQ4_K, a.q_rows(), kHidden);
      a.k = weight(DType::kQ4_K, a.kv_dim(), kHidden);
      a.v = weight(fine, a.kv_dim(), kHidden);
      a.o = weight(DType::kQ4_K, kHidden, a.q_dim());
      a.q_norm = weight(DType::kF32, 1, a.head_dim);
      a.k_norm = weight(DType::kF32, 1, a.head_dim);
      block.mixer = a;
    } else {
      GatedDeltaNet d;
      d.n_k_heads = 16;
      d.n_v_heads = 48;
      d.k_dim = 128;
      d.v_dim = 128;
      d.conv_kernel = 4;
      d.qkv = weight(fine, d.channels(), kHidden);
      d.z = weight(DType::kQ4_K, d.values(), kHidden);
      d.alpha = weight(DType::kQ4_K, d.n_v_heads, kHidden);
      d.beta = weight(DType::kQ4_K, d.n_v_heads, kHidden);
      d.conv = weight(DType::kF32, d.channels(), d.conv_kernel);
      d.decay = weight(DType::kF32, 1, d.n_v_heads);
      d.dt_bias = weight(DType::kF32, 1, d.n_v_heads);
      d.norm = weight(DType::kF32, 1, d.v_dim);
      d.out = weight(DType::kQ4_K, kHidden, d.values());
      block.mixer = d;
    }
    SwiGlu mlp;
    mlp.ff = kFf;
    mlp.gate = weight(DType::kQ4_K, kFf, kHidden);
    mlp.up = weight(DType::kQ4_K, kFf, kHidden);
    mlp.down = weight(finer(i, kLayers) ? DType::kQ6_K : DType::kQ4_K, kHidden, kFf);
    block.mlp = mlp;
    spec.blocks.push_back(std::move(block));
  }
  return spec;
}

TEST_CASE("the 27B hybrid: state, keys and values, weights") {
  const MemoryNeeds needs = memory_needs(qwen36_27b());
  CHECK(needs.kv_bytes_per_token == 65536);
  CHECK(needs.state_bytes == 48 * (48 * 128 * 128 + 3 * 10240) * 4);
  CHECK(needs.state_bytes == 156893184);
    CHECK(needs.weight_bytes == int64_t{16536406016});
}

TEST_CASE("the 27B hybrid in Q4_K_M fits 22 GB at 8k and 32k, with checkpoints to reuse") {
  const MemoryNeeds needs = memory_needs(qwen36_27b());
  MemoryWishes wishes;
  wishes.budget_bytes = int64_t{22} * 1000 * 1000 * 1000;
  for (const auto& [context, least] : {std::pair{8192, 20}, std::pair{32768, 8}}) {
    CAPTURE(context);
    wishes.context_length = context;
    const auto split = split_memory(needs, wishes);
    REQUIRE_MESSAGE(split.ok(), split.error().message);
    CHECK(split->total() <= wishes.budget_bytes);
    CHECK(wishes.budget_bytes - split->total() < needs.state_bytes);
    CHECK(split->n_checkpoints >= least);
    CHECK(split->kv_bytes == (int64_t{context} + 4096) * 65536);
  }
  wishes.context_length = 131072;
  const auto split = split_memory(needs, wishes);
  REQUIRE_FALSE(split.ok());
  CHECK(split.error().code == ErrorCode::kResourceExhausted);
  CHECK(split.error().message.find("MiB more") != std::string::npos);
}

TEST_CASE("what a file's model needs is what its tensors take") {
  for (const char* name : {"qwen2-tiny", "qwen35-tiny", "qwen35-plain-tiny"}) {
    auto file = GgufFile::open("tests/fixtures/" + std::string(name) + ".gguf");
    REQUIRE(file.ok());
    const auto spec = read_model_spec(**file);
    REQUIRE(spec.ok());
    const MemoryNeeds needs = memory_needs(*spec);
    CHECK(needs.weight_bytes == spec->weight_bytes);
    CHECK((needs.state_bytes > 0) == (std::string(name) != "qwen2-tiny"));
  }
  // Without recurrent layers everything that is left stays free.
  const auto split = split_memory({1000, 10, 0}, {5000, 100, 2, 500});
  REQUIRE(split.ok());
  CHECK(split->total() == 3000);
  CHECK(split->n_checkpoints == 0);
}

}  // namespace
}  // namespace fimd
