// Kernel throughput: GMAC/s and GB/s of weights per matmul, and whole forward passes of the shipped
// model's shape with random weights (no sampling, no tokenizer).
//
//   kernels_bench --benchmark_filter=matmul/Q4_0   FIMD_ISA=avx2 lowers the instruction set
//   FIMD_THREADS=2                                 threads, default 2; with 1, CPU time counts
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"

namespace {

using namespace fimd;
using namespace fimd::cpu;

int threads() {
  const char* n = std::getenv("FIMD_THREADS");
  return n ? std::atoi(n) : 2;
}

std::vector<float> random_floats(size_t n, float scale) {
  std::minstd_rand rng(1);
  std::vector<float> v(n);
  for (float& x : v) x = (static_cast<float>(rng() % 2001) / 1000.0f - 1.0f) * scale;
  return v;
}

/// Matrices with the same random weights, each in memory of its own.
struct Weights {
  Weights(DType type, int64_t rows, int64_t cols, int copies) {
    const FormatInfo& format = *find_format(static_cast<uint32_t>(type));
    // Rows repeat, as encoding a K-quant takes long and its values do not matter for speed.
    const int64_t distinct = std::min<int64_t>(rows, 16);
    const auto floats = random_floats(static_cast<size_t>(distinct * cols), 0.05f);
    const size_t row = row_bytes(format, cols);
    bytes.resize(row * static_cast<size_t>(rows));
    quantize(type, floats.data(), distinct * cols, bytes.data());
    for (int64_t r = distinct; r < rows; ++r) {
      std::copy_n(bytes.data() + row * static_cast<size_t>(r % distinct), row,
                  bytes.data() + row * static_cast<size_t>(r));
    }
    for (int i = 0; i < copies; ++i) {
      matrices.push_back(std::move(Matrix::make(type, bytes.data(), rows, cols)).value());
    }
  }
  std::vector<uint8_t> bytes;
  std::vector<Matrix> matrices;
};

// `copies` > 1 walks through more weights than the caches hold.
void matmul_bench(benchmark::State& state, DType type, int64_t rows, int64_t cols, int64_t tokens,
                  size_t cache_bytes) {
  ThreadPool pool(threads());
  const FormatInfo& format = *find_format(static_cast<uint32_t>(type));
  const size_t one = row_bytes(format, cols) * static_cast<size_t>(rows);
  const Weights w(type, rows, cols, static_cast<int>(cache_bytes / one + 1));
  const auto x = random_floats(static_cast<size_t>(tokens * cols), 1.0f);
  std::vector<float> y(static_cast<size_t>(tokens * rows));
  QuantizedActivations a;
  size_t next = 0;
  for (auto _ : state) {
    a.assign(pool, x.data(), tokens, cols);
    matmul(pool, w.matrices[next], a, nullptr, y.data());
    next = (next + 1) % w.matrices.size();
    benchmark::ClobberMemory();
  }
  const double runs = static_cast<double>(state.iterations());
  state.counters["GMAC/s"] = benchmark::Counter(
      runs * static_cast<double>(rows * cols * tokens) * 1e-9, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(
      runs * static_cast<double>(w.matrices[0].bytes()) * 1e-9, benchmark::Counter::kIsRate);
}

struct ModelShape {
  int hidden, layers, heads, kv_heads, head_dim, ff, vocab;
  DType type, embedding;
};

/// A transformer with random weights: every operation of a forward pass, in order.
class Model {
 public:
  explicit Model(const ModelShape& s)
      : shape_(s),
        wq_(s.type, s.heads * s.head_dim, s.hidden, s.layers),
        wk_(s.type, s.kv_heads * s.head_dim, s.hidden, s.layers),
        wv_(s.type, s.kv_heads * s.head_dim, s.hidden, s.layers),
        wo_(s.type, s.hidden, s.heads * s.head_dim, s.layers),
        gate_(s.type, s.ff, s.hidden, s.layers),
        up_(s.type, s.ff, s.hidden, s.layers),
        down_(s.type, s.hidden, s.ff, s.layers),
        head_(s.embedding, s.vocab, s.hidden, 1),
        norm_(random_floats(static_cast<size_t>(s.hidden), 1.0f)),
        inv_freq_(static_cast<size_t>(s.head_dim / 2)),
        pool_(threads()) {
    for (size_t i = 0; i < inv_freq_.size(); ++i) {
      inv_freq_[i] = static_cast<float>(
          std::pow(1e5, -2.0 * static_cast<double>(i) / static_cast<double>(s.head_dim)));
    }
    const size_t per_layer = static_cast<size_t>(kPages * kPageTokens * s.kv_heads * s.head_dim);
    k_.assign(static_cast<size_t>(s.layers), std::vector<uint16_t>(per_layer));
    v_ = k_;
    for (int32_t i = 0; i < kPages; ++i) pages_.push_back(i);
  }

  size_t bytes() const {
    size_t n = head_.matrices[0].bytes();
    for (const Weights* w : {&wq_, &wk_, &wv_, &wo_, &gate_, &up_, &down_}) {
      n += w->matrices.size() * w->matrices[0].bytes();
    }
    return n;
  }

  void forward(int first, int n) {
    const ModelShape& s = shape_;
    const auto size = [n](int dim) { return static_cast<size_t>(n) * static_cast<size_t>(dim); };
    x_.assign(size(s.hidden), 0.5f);
    normed_.resize(x_.size());
    q_.resize(size(s.heads * s.head_dim));
    out_.resize(q_.size());
    kf_.resize(size(s.kv_heads * s.head_dim));
    vf_.resize(kf_.size());
    gate_y_.resize(size(s.ff));
    up_y_.resize(gate_y_.size());
    positions_.resize(static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) positions_[static_cast<size_t>(i)] = first + i;
    for (size_t l = 0; l < static_cast<size_t>(s.layers); ++l) {
      rms_norm(pool_, x_.data(), norm_.data(), 1e-6f, n, s.hidden, normed_.data());
      a_.assign(pool_, normed_.data(), n, s.hidden);
      const MatmulTask qkv[] = {{&wq_.matrices[l], nullptr, q_.data()},
                                {&wk_.matrices[l], nullptr, kf_.data()},
                                {&wv_.matrices[l], nullptr, vf_.data()}};
      matmul(pool_, qkv, a_);
      rope(pool_, q_.data(), positions_, s.heads, s.head_dim, s.head_dim, inv_freq_.data(),
           RopeStyle::kNeox);
      rope(pool_, kf_.data(), positions_, s.kv_heads, s.head_dim, s.head_dim, inv_freq_.data(),
           RopeStyle::kNeox);
      const PagedKv kv{k_[l].data(), v_[l].data(), kPageTokens, s.kv_heads, s.head_dim};
      kv_append(kv, pages_, first, n, kf_.data(), vf_.data());
      attention(pool_, q_.data(), kv, pages_, first, n, s.heads, 0.125f, 0, out_.data());
      a_.assign(pool_, out_.data(), n, s.heads * s.head_dim);
      matmul(pool_, wo_.matrices[l], a_, nullptr, normed_.data());
      add(pool_, x_.data(), normed_.data(), static_cast<int64_t>(x_.size()));
      rms_norm(pool_, x_.data(), norm_.data(), 1e-6f, n, s.hidden, normed_.data());
      a_.assign(pool_, normed_.data(), n, s.hidden);
      const MatmulTask mlp[] = {{&gate_.matrices[l], nullptr, gate_y_.data()},
                                {&up_.matrices[l], nullptr, up_y_.data()}};
      matmul(pool_, mlp, a_);
      silu_mul(pool_, gate_y_.data(), up_y_.data(), static_cast<int64_t>(gate_y_.size()));
      a_.assign(pool_, gate_y_.data(), n, s.ff);
      matmul(pool_, down_.matrices[l], a_, nullptr, normed_.data());
      add(pool_, x_.data(), normed_.data(), static_cast<int64_t>(x_.size()));
    }
    const float* last = x_.data() + size(s.hidden) - static_cast<size_t>(s.hidden);
    rms_norm(pool_, last, norm_.data(), 1e-6f, 1, s.hidden, normed_.data());
    a_.assign(pool_, normed_.data(), 1, s.hidden);
    logits_.resize(static_cast<size_t>(s.vocab));
    matmul(pool_, head_.matrices[0], a_, nullptr, logits_.data());
    benchmark::DoNotOptimize(logits_.data());
  }

 private:
  static constexpr int kPageTokens = 32;
  static constexpr int kPages = 64;  // 2048 tokens

  ModelShape shape_;
  Weights wq_, wk_, wv_, wo_, gate_, up_, down_, head_;
  std::vector<float> norm_, inv_freq_;
  ThreadPool pool_;
  std::vector<std::vector<uint16_t>> k_, v_;
  std::vector<int32_t> pages_, positions_;
  QuantizedActivations a_;
  std::vector<float> x_, normed_, q_, kf_, vf_, out_, gate_y_, up_y_, logits_;
};

constexpr ModelShape kShipped{512, 18, 8, 2, 64, 1536, 16384, DType::kQ4_0, DType::kQ6_K};
constexpr ModelShape kShippedQ8{512, 18, 8, 2, 64, 1536, 16384, DType::kQ8_0, DType::kQ8_0};
// Qwen2.5-Coder's layer shapes, fewer layers and the shipped vocabulary.
constexpr ModelShape kHalfB{896, 12, 14, 2, 64, 4864, 16384, DType::kQ8_0, DType::kQ8_0};
constexpr ModelShape kQwen15{1536, 8, 12, 2, 128, 8960, 16384, DType::kQ4_K, DType::kQ6_K};

void decode_bench(benchmark::State& state, const ModelShape& shape, int context) {
  Model model(shape);
  // The cache starts as zeros, which cost as much to read as anything else.
  for (auto _ : state) model.forward(context, 1);
  const double runs = static_cast<double>(state.iterations());
  state.counters["tok/s"] = benchmark::Counter(runs, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(runs * static_cast<double>(model.bytes()) * 1e-9,
                                              benchmark::Counter::kIsRate);
}

void prefill_bench(benchmark::State& state, const ModelShape& shape, int tokens, int chunk) {
  Model model(shape);
  for (auto _ : state) {
    for (int i = 0; i < tokens; i += chunk) model.forward(i, std::min(chunk, tokens - i));
  }
  state.counters["tok/s"] = benchmark::Counter(static_cast<double>(state.iterations()) * tokens,
                                               benchmark::Counter::kIsRate);
}

void attention_bench(benchmark::State& state, int heads, int kv_heads, int head_dim, int first,
                     int tokens) {
  ThreadPool pool(threads());
  constexpr int kPageTokens = 32;
  const int n_pages = (first + tokens) / kPageTokens + 1;
  const size_t elements = static_cast<size_t>(n_pages * kPageTokens * kv_heads * head_dim);
  std::vector<uint16_t> k(elements), v(elements);
  const PagedKv kv{k.data(), v.data(), kPageTokens, kv_heads, head_dim};
  std::vector<int32_t> pages;
  for (int32_t i = 0; i < n_pages; ++i) pages.push_back(i);
  const auto q = random_floats(static_cast<size_t>(tokens * heads * head_dim), 1.0f);
  std::vector<float> out(q.size());
  for (auto _ : state) {
    attention(pool, q.data(), kv, pages, first, tokens, heads, 0.125f, 0, out.data());
    benchmark::ClobberMemory();
  }
  const double keys = tokens * (first + 0.5 * (tokens + 1));
  state.counters["GMAC/s"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * 2 * keys * heads * head_dim * 1e-9,
      benchmark::Counter::kIsRate);
}

void pool_bench(benchmark::State& state) {
  ThreadPool pool(threads());
  for (auto _ : state) pool.run([](int, int) {});
}

template <class... Args>
void add_bench(const std::string& name, void (*f)(benchmark::State&, Args...),
               std::type_identity_t<Args>... args) {
  auto* bench =
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& s) { f(s, args...); });
  bench->Unit(benchmark::kMicrosecond);
  // One thread: rates by CPU time, which other programs on the machine disturb less.
  if (threads() > 1) bench->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::AddCustomContext("isa", isa_name(current_isa()));
  benchmark::AddCustomContext("threads", std::to_string(threads()));
  add_bench("pool/fork_join", pool_bench);
  for (const DType type : {DType::kQ4_0, DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K,
                           DType::kF16, DType::kF32}) {
    const std::string name =
        std::string("matmul/") + find_format(static_cast<uint32_t>(type))->name;
    for (const int64_t tokens : {1, 4, 8, 16, 128}) {
      add_bench(name + "/1536x512/t" + std::to_string(tokens), matmul_bench, type, 1536, 512,
                tokens, 0);
      add_bench(name + "/8960x1536/t" + std::to_string(tokens), matmul_bench, type, 8960, 1536,
                tokens, tokens == 1 ? size_t{96} << 20 : 0);
    }
  }
  add_bench("attention/shipped/decode1500", attention_bench, 8, 2, 64, 1500, 1);
  add_bench("attention/shipped/step8at1500", attention_bench, 8, 2, 64, 1500, 8);
  add_bench("attention/shipped/prefill128at1024", attention_bench, 8, 2, 64, 1024, 128);
  add_bench("attention/qwen1.5b/prefill128at1024", attention_bench, 12, 2, 128, 1024, 128);
  add_bench("decode/shipped/at1500", decode_bench, kShipped, 1500);
  add_bench("decode/shipped/at512", decode_bench, kShipped, 512);
  add_bench("decode/shipped-q8/at512", decode_bench, kShippedQ8, 512);
  add_bench("prefill/shipped/512", prefill_bench, kShipped, 512, 128);
  add_bench("prefill/shipped/1500", prefill_bench, kShipped, 1500, 128);
  add_bench("prefill/shipped/8", prefill_bench, kShipped, 8, 8);
  add_bench("prefill/shipped-q8/512", prefill_bench, kShippedQ8, 512, 128);
  add_bench("decode/qwen0.5b-q8-12layers/at512", decode_bench, kHalfB, 512);
  add_bench("prefill/qwen0.5b-q8-12layers/512", prefill_bench, kHalfB, 512, 128);
  add_bench("decode/qwen1.5b-q4k-8layers/at512", decode_bench, kQwen15, 512);
  add_bench("prefill/qwen1.5b-q4k-8layers/512", prefill_bench, kQwen15, 512, 128);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
