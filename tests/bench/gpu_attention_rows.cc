// Rows of gpu_kernels_bench: rotary embedding with the append, attention, and choosing tokens.
#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/ops.h"
#include "tests/bench/gpu_bench.h"

namespace fimd::bench {
namespace {

using cuda::AttentionParams;
using cuda::KvPages;
using cuda::Sequence;

constexpr int kPageTokens = 32;

struct Case {
  const char* name;
  int n_heads, n_kv_heads, head_dim;
  int n_sequences, n_rows, n_keys;  // rows and keys of each; the rows are the last of the keys
};
constexpr Case kCases[] = {
    {"7B decode", 28, 4, 128, 1, 1, 1024},       {"7B decode", 28, 4, 128, 1, 1, 4096},
    {"7B decode", 28, 4, 128, 1, 1, 16384},      {"7B keystroke", 28, 4, 128, 1, 8, 1024},
    {"7B keystroke", 28, 4, 128, 1, 8, 4096},    {"7B 8 editors", 28, 4, 128, 8, 1, 1024},
    {"7B 8 editors", 28, 4, 128, 8, 1, 4096},    {"7B edit", 28, 4, 128, 1, 32, 4096},
    {"7B prefill", 28, 4, 128, 1, 4096, 4096},   {"7B chunk", 28, 4, 128, 1, 512, 4096},
    {"1.5B decode", 12, 2, 128, 1, 1, 1024},     {"1.5B decode", 12, 2, 128, 1, 1, 4096},
    {"27B decode", 24, 4, 256, 1, 1, 1024},      {"27B decode", 24, 4, 256, 1, 1, 4096},
    {"27B keystroke", 24, 4, 256, 1, 8, 1024},   {"27B keystroke", 24, 4, 256, 1, 8, 4096},
    {"27B 8 editors", 24, 4, 256, 8, 1, 4096},   {"32B decode", 40, 8, 128, 1, 1, 4096},
    {"0.5B decode", 14, 2, 64, 1, 1, 1024},      {"0.5B prefill", 14, 2, 64, 1, 4096, 4096},
    {"head 256 decode", 16, 2, 256, 1, 1, 4096}, {"head 256 prefill", 16, 2, 256, 1, 4096, 4096},
};

template <class T>
T* copied(GpuBench& bench, const std::vector<T>& values) {
  void* memory = bench.random_bytes(values.size() * sizeof(T));
  if (memory != nullptr) {
    cudaMemcpy(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice);
  }
  return static_cast<T*>(memory);
}

void attention_case(GpuBench& bench, const Case& c) {
  const std::string shape = std::string(c.name) + " rows=" + std::to_string(c.n_rows) +
                            " keys=" + std::to_string(c.n_keys);
  if (!bench.wants("attention", shape) && !bench.wants("rope_append", shape) &&
      !bench.wants("rope_attention", shape) && !bench.wants("rope_attention 8-bit", shape)) {
    return;
  }
  const int n_pages = (c.n_keys + kPageTokens - 1) / kPageTokens;
  const size_t tokens = static_cast<size_t>(n_pages) * c.n_sequences * kPageTokens;
  const size_t kv_bytes = tokens * static_cast<size_t>(c.n_kv_heads * c.head_dim) * 2;
  const int copies = std::min(bench.copies(2 * kv_bytes), 64);
  const int n = c.n_sequences * c.n_rows;
  const size_t q_elements = static_cast<size_t>(n) * static_cast<size_t>(c.n_heads * c.head_dim);

  std::vector<int32_t> pages(static_cast<size_t>(n_pages * c.n_sequences));
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), std::mt19937(1));
  std::vector<Sequence> sequences;
  for (int s = 0; s < c.n_sequences; ++s) {
    sequences.push_back({s * c.n_rows, c.n_rows, c.n_keys - c.n_rows, s * n_pages});
  }
  std::vector<float> inv_freq(static_cast<size_t>(c.head_dim / 2), 0.01F);
  auto* kv = static_cast<uint8_t*>(bench.random_bytes(2 * kv_bytes * static_cast<size_t>(copies)));
  auto* decoded = static_cast<__half*>(bench.random_bytes(2 * kv_bytes));
  auto* qkv = static_cast<float*>(
      bench.random_bytes(static_cast<size_t>(n) *
                         static_cast<size_t>((c.n_heads + 2 * c.n_kv_heads) * c.head_dim) * 4));
  auto* q = static_cast<__half*>(bench.random_bytes(q_elements * 2));
  auto* q_out = static_cast<__half*>(bench.random_bytes(q_elements * 2));
  auto* out = static_cast<float*>(bench.random_bytes(q_elements * 4));
  const size_t workspace_bytes = cuda::attention_workspace_bytes(n, c.n_heads, c.head_dim);
  void* workspace = bench.random_bytes(workspace_bytes);
  const Sequence* device_sequences = copied(bench, sequences);
  const int32_t* device_pages = copied(bench, pages);
  const float* device_freq = copied(bench, inv_freq);
  if (kv == nullptr || qkv == nullptr || workspace == nullptr) return bench.release();
  cudaMemset(workspace, 0, workspace_bytes);

  const auto layer = [&](int i) {
    uint8_t* at = kv + static_cast<size_t>(i % copies) * 2 * kv_bytes;
    return KvPages{reinterpret_cast<__half*>(at), reinterpret_cast<__half*>(at + kv_bytes),
                   kPageTokens, c.n_kv_heads, c.head_dim};
  };
  // Codes take a little more than half of a layer; the rest is room for any pages, decoded.
  const auto coded_layer = [&](int i) {
    KvPages pages = layer(i);
    pages.k_codes = reinterpret_cast<uint8_t*>(pages.k);
    pages.v_codes = reinterpret_cast<uint8_t*>(pages.v);
    pages.k = decoded;
    pages.v = decoded + kv_bytes / 2;
    return pages;
  };
  const auto params_of = [&](int i) {
    AttentionParams p;
    p.q = q;
    p.kv = layer(i);
    p.sequences = device_sequences;
    p.n_sequences = c.n_sequences;
    p.pages = device_pages;
    p.n_rows = n;
    p.n_heads = c.n_heads;
    p.max_rows = c.n_rows;
    p.max_keys = c.n_keys;
    p.out = out;
    p.workspace = workspace;
    return p;
  };
  cuda::RopeParams rope;
  rope.rotary_dim = c.head_dim;
  rope.inv_freq = device_freq;
  const auto attend = [&](int i, cudaStream_t stream) { cuda::attention(params_of(i), stream); };
  const auto both = [&](int i, cudaStream_t stream) {
    cuda::rope_attention(qkv, rope, 0.1F, q_out, params_of(i), stream);
  };
  const auto coded = [&](int i, cudaStream_t stream) {
    AttentionParams p = params_of(i);
    p.kv = coded_layer(i);
    cuda::rope_attention(qkv, rope, 0.1F, q_out, p, stream);
  };
  const auto append = [&](int i, cudaStream_t stream) {
    cuda::rope_append(qkv, n, c.n_heads, rope, 0.1F, layer(i), device_sequences, c.n_sequences,
                      device_pages, q_out, stream);
  };
  const double row_bytes = static_cast<double>(n) * c.head_dim;
  const double q_bytes = row_bytes * c.n_heads * 2;
  const double attention_bytes =
      2.0 * c.n_sequences * c.n_keys * c.n_kv_heads * c.head_dim * 2 + 3 * q_bytes;
  const double before = c.n_keys - c.n_rows;
  const double pairs = c.n_sequences * (c.n_rows * before + 0.5 * c.n_rows * (c.n_rows + 1.0));
  if (bench.wants("attention", shape)) {
    bench.time("attention", shape, attention_bytes, attend, 4.0 * pairs * c.n_heads * c.head_dim);
  }
  if (bench.wants("rope_append", shape)) {
    bench.time("rope_append", shape, 3 * q_bytes + row_bytes * 2 * c.n_kv_heads * 6, append);
  }
  if (c.n_rows <= 32 && bench.wants("rope_attention", shape)) {
    bench.time("rope_attention", shape, attention_bytes, both,
               4.0 * pairs * c.n_heads * c.head_dim);
  }
  if (bench.wants("rope_attention 8-bit", shape)) {
    const double part = cuda::kv_row_bytes(c.head_dim) / (2.0 * c.head_dim);
    bench.time("rope_attention 8-bit", shape, attention_bytes * part, coded,
               4.0 * pairs * c.n_heads * c.head_dim);
  }
  bench.release();
}

/// What follows the greedy choice.
enum class Then { kNothing, kDraw, kBest };

void sample_case(GpuBench& bench, int n, Then then) {
  const std::string name = then == Then::kNothing ? "sample_greedy"
                           : then == Then::kDraw  ? "and sample_drawn (top-p 0.95)"
                                                  : "and sample_best (8)";
  const std::string shape = "vocab 152064 rows=" + std::to_string(n);
  if (!bench.wants(name, shape)) return;
  constexpr int64_t kVocab = 152064;
  const size_t count = static_cast<size_t>(kVocab * n);
  std::vector<float> logits(count);
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  for (float& x : logits) x = normal(random);
  // A language model's logits: some far above the rest.
  for (size_t i = 0; i < count; i += 5003) logits[i] += 15;
  std::vector<cuda::SampleRow> rows(static_cast<size_t>(n));
  for (cuda::SampleRow& row : rows) {
    row.temperature = then == Then::kDraw ? 0.7F : 0.0F;
    row.top_p = 0.95F;
    row.uniform = 0.5;
    row.n_best = 8;
  }
  const float* device_logits = copied(bench, logits);
  const auto* mask = copied(bench, std::vector<uint32_t>(kVocab / 32, ~0U));
  const auto* device_rows = copied(bench, rows);
  auto* results = copied(bench, std::vector<cuda::SampleResult>(static_cast<size_t>(n)));
  auto* best =
      copied(bench, std::vector<cuda::SampleResult>(static_cast<size_t>(n) * cuda::kMaxBest));
  char* workspace = copied(bench, std::vector<char>(cuda::sample_workspace_bytes(n)));
  if (device_logits == nullptr || workspace == nullptr) return bench.release();
  bench.time(name, shape, static_cast<double>(count) * 4, [&](int, cudaStream_t stream) {
    const auto run = [&](const auto& operation, cuda::SampleResult* to) {
      operation(device_logits, n, kVocab, mask, device_rows, nullptr, to, workspace, stream);
    };
    run(cuda::sample_greedy, results);
    if (then == Then::kDraw) run(cuda::sample_drawn, results);
    if (then == Then::kBest) run(cuda::sample_best, best);
  });
  bench.release();
}

}  // namespace

void attention_rows(GpuBench& bench) {
  for (const Case& c : kCases) attention_case(bench, c);
  for (const int n : {1, 8}) {
    for (const Then then : {Then::kNothing, Then::kDraw, Then::kBest}) sample_case(bench, n, then);
  }
}

}  // namespace fimd::bench
