// rope_attention() against rope_append() and attention(), and in all the circumstances of a pass.
#include <array>
#include <cstring>
#include <string>

#include "tests/gpu/paged_kv.h"

namespace fimd::cuda {
namespace {

using testing::AttentionShape;
using testing::PagedKv;
using testing::poisoned;
using testing::to_device;
using testing::to_host;

// Weights are rounded to half, and so are parts of outputs where two launches do it.
constexpr double kTolerance = 2e-3;

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

struct Options {
  bool adjacent = false;
  int rotary_dim = 0;  // 0: the whole head
  bool norm = false;
  bool gates = false;
};

struct Pass {
  Pass(const AttentionShape& shape, const Options& options, unsigned seed)
      : shape(shape),
        kv(shape, seed),
        n_heads(shape.n_kv_heads * shape.group),
        outputs(static_cast<size_t>(kv.n_rows * n_heads * shape.head_dim)) {
    const auto dim = static_cast<size_t>(shape.head_dim);
    const int heads = n_heads * (options.gates ? 2 : 1) + 2 * shape.n_kv_heads;
    std::vector<float> host_qkv = testing::random_floats(
        static_cast<size_t>(kv.n_rows * heads) * dim, seed + 3, options.norm ? 1.0F : 2.0F);
    if (options.gates) {
      // The gates are none of the kernel's business.
      for (size_t row = 0; row < static_cast<size_t>(kv.n_rows); ++row) {
        for (size_t head = 0; head < static_cast<size_t>(n_heads); ++head) {
          const size_t at = (row * static_cast<size_t>(heads) + 2 * head + 1) * dim;
          std::fill_n(host_qkv.begin() + static_cast<ptrdiff_t>(at), dim, NAN);
        }
      }
    }
    qkv = to_device(host_qkv);
    q_norm = to_device(testing::random_floats(dim, seed + 4));
    k_norm = to_device(testing::random_floats(dim, seed + 5));
    rope.rotary_dim = options.rotary_dim > 0 ? options.rotary_dim : shape.head_dim;
    std::vector<float> freq;
    for (int i = 0; i < rope.rotary_dim / 2; ++i) {
      freq.push_back(
          std::pow(1e4F, -2.0F * static_cast<float>(i) / static_cast<float>(rope.rotary_dim)));
    }
    inv_freq = to_device(freq);
    rope.inv_freq = inv_freq.as<float>();
    rope.adjacent = options.adjacent;
    rope.q_norm = options.norm ? q_norm.as<float>() : nullptr;
    rope.k_norm = options.norm ? k_norm.as<float>() : nullptr;
    rope.norm_eps = 1e-6F;
    rope.q_gates = options.gates;
    q = poisoned<__half>(outputs);
    out = poisoned<float>(outputs);
    workspace =
        to_device(std::vector<char>(attention_workspace_bytes(kv.n_rows, n_heads, shape.head_dim)));
    stale = kv.before_append();
    params = kv.attention_params();
    params.q = q.as<__half>();
    params.out = out.as<float>();
    params.workspace = workspace.data();
  }

  /// Pages as they were before: the new tokens' places hold no numbers.
  void reset() const {
    kv.upload(stale);
    REQUIRE(cudaMemset(out.data(), 0xFF, out.bytes()) == cudaSuccess);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  }
  float scale() const { return kLog2E / std::sqrt(static_cast<float>(shape.head_dim)); }
  void apart() const {
    rope_append(qkv.as<float>(), kv.n_rows, n_heads, rope, scale(), kv.device(), params.sequences,
                params.n_sequences, params.pages, q.as<__half>(), nullptr);
    attention(params, nullptr);
  }
  void fused(cudaStream_t stream = nullptr) const {
    rope_attention(qkv.as<float>(), rope, scale(), q.as<__half>(), params, stream);
  }
  std::vector<float> result() const { return to_host<float>(out, outputs); }

  AttentionShape shape;
  PagedKv kv;
  int n_heads;
  size_t outputs;
  DeviceBuffer qkv, q_norm, k_norm, inv_freq, q, out, workspace;
  PagedKv::Contents stale;
  RopeParams rope;
  AttentionParams params;
};

/// Both ways, from the same pages: the outputs agree, and the pages to the bit.
void compare(const Pass& pass) {
  pass.reset();
  pass.apart();
  const auto expected = pass.result();
  const auto stored = pass.kv.stored();
  pass.reset();
  pass.fused();
  const auto got = pass.result();
  CHECK(testing::relative_error(got, expected) < kTolerance);
  CHECK(pass.kv.stored() == stored);
}

/// From pages of halves, and from pages of codes.
void compare_both(AttentionShape shape, const Options& options, unsigned seed) {
  compare(Pass(shape, options, seed));
  shape.coded = true;
  INFO("pages of codes");
  compare(Pass(shape, options, seed));
}

TEST_CASE("rope_attention is rope_append and attention, over odd shapes") {
  std::mt19937 random(11);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  unsigned seed = 500;
  for (const int dim : {64, 80, 96, 128, 256}) {
    for (int group = 1; group <= 16; group += group < 8 ? 1 : 8) {
      for (const int most : {1, 2, 8}) {
        AttentionShape shape;
        shape.head_dim = dim;
        shape.group = group;
        shape.n_kv_heads = 1 + below(2);
        shape.page_tokens = 16 << below(3);
        shape.window = below(3) == 0 ? 1 + below(600) : 0;
        const int n_sequences = 1 + below(3);
        for (int s = 0; s < n_sequences; ++s) {
          const int firsts[] = {0, below(70), 57 + below(9), 500 + below(1500)};
          shape.spans.push_back({1 + below(most), firsts[below(4)]});
        }
        const int rotary_dims[] = {dim, dim, dim / 2, dim / 4};
        const Options options = {below(3) == 0, rotary_dims[below(4)], below(2) == 0,
                                 below(3) == 0};
        INFO("head_dim " << dim << ", group " << group << ", KV heads " << shape.n_kv_heads
                         << ", window " << shape.window << ", sequences " << n_sequences
                         << ", up to " << most << " rows, rotary_dim " << options.rotary_dim);
        compare_both(shape, options, seed += 10);
      }
    }
  }
}

TEST_CASE("rope_attention of long prefixes and of many sequences") {
  for (const int rows : {1, 8, 30}) {
    AttentionShape shape;
    shape.n_kv_heads = 2;
    shape.group = 7;
    shape.spans = {{rows, 20000}, {1, 0}, {rows, 4095}};
    INFO(rows << " rows");
    compare_both(shape, {}, 600U + static_cast<unsigned>(rows));
  }
  AttentionShape shape;
  shape.n_kv_heads = 4;
  shape.group = 7;
  for (int i = 0; i < 40; ++i) shape.spans.push_back({i == 17 ? 0 : 1 + i % 3, 37 * i});
  compare_both(shape, {}, 610);
}

/// Small enough for compute-sanitizer: clusters of one block, of several, and some of whose blocks
/// have no keys.
TEST_CASE("rope_attention of few keys") {
  for (const int dim : {64, 80, 128, 256}) {
    for (const int group : {1, 6}) {
      for (const std::vector<testing::Span>& spans : std::vector<std::vector<testing::Span>>{
               {{1, 5}}, {{1, 0}, {3, 20}}, {{2, 300}, {1, 3}}, {{8, 200}}}) {
        AttentionShape shape;
        shape.head_dim = dim;
        shape.group = group;
        shape.spans = spans;
        INFO("head_dim " << dim << ", group " << group << ", " << spans.size() << " sequences");
        compare_both(shape, {}, 615);
      }
    }
  }
}

TEST_CASE("rope_attention of more rows than fit one launch") {
  AttentionShape shape;
  shape.n_kv_heads = 2;
  shape.group = 4;
  shape.spans = {{40, 300}, {1, 90}};
  compare_both(shape, {}, 620);
}

TEST_CASE("rope_attention quantises its output as quantize() does") {
  for (const int dim : {64, 96, 128, 256}) {
    for (const int rows : {1, 3, 7, 25}) {
      AttentionShape shape;
      shape.head_dim = dim;
      shape.n_kv_heads = 3;
      shape.group = 3;
      shape.spans = {{rows, 1000}, {1, 70}};
      Pass pass(shape, {}, 630);
      const int n = pass.kv.n_rows;
      const int64_t cols = pass.n_heads * dim;
      const auto make = [&] {
        return std::array{poisoned<char>(q8_bytes(n, cols)), poisoned<char>(bf16_bytes(n, cols)),
                          poisoned<__nv_bfloat16>(pass.outputs)};
      };
      const auto all = [&](const std::array<DeviceBuffer, 3>& b) {
        return Activations{cols, b[0].data(), b[1].data(), b[2].as<__nv_bfloat16>()};
      };
      const auto direct = make();
      const auto from_output = make();
      pass.params.activations = all(direct);
      pass.reset();
      pass.fused();
      quantize(pass.out.as<float>(), n, all(from_output), nullptr);
      INFO("head_dim " << dim << ", " << rows << " rows");
      for (size_t i = 0; i < direct.size(); ++i) {
        const size_t bytes = direct[i].bytes();
        CHECK(to_host<char>(direct[i], bytes) == to_host<char>(from_output[i], bytes));
      }
    }
  }
}

TEST_CASE("rope_attention does not depend on timing nor on other sequences") {
  for (const int rows : {1, 2, 8, 32}) {
    AttentionShape shape;
    shape.n_kv_heads = 4;
    shape.group = 7;
    shape.spans = {{rows, 3000}, {1, 1500}};
    Pass pass(shape, {}, 640);
    pass.reset();
    pass.fused();
    const auto once = pass.result();
    for (int i = 0; i < 30; ++i) {
      pass.reset();
      // Several behind each other: with dependent launch they overlap.
      for (int again = 0; again < 1 + i % 4; ++again) pass.fused();
      REQUIRE(same_bits(pass.result(), once));
    }
    // The second becomes short: the first keeps its very bits.
    pass.kv.sequences[1].first = 10;
    pass.kv.device_sequences = to_device(pass.kv.sequences);
    pass.params.sequences = pass.kv.device_sequences.as<Sequence>();
    pass.fused();
    const auto after = pass.result();
    const auto row = static_cast<size_t>(rows * pass.n_heads * shape.head_dim);
    CHECK(std::memcmp(once.data(), after.data(), row * sizeof(float)) == 0);
    CHECK(std::memcmp(once.data() + row, after.data() + row, row / static_cast<size_t>(rows)) != 0);
  }
}

TEST_CASE("a graph of rope_attention made for many keys is right for every length") {
  for (const int rows : {1, 2, 8, 20}) {
    AttentionShape shape;
    shape.coded = rows == 2;
    shape.n_kv_heads = 2;
    shape.group = 7;
    shape.spans = {{rows, 3900}, {rows, 2000}};
    Pass pass(shape, {}, 650);
    pass.params.max_keys = 4096;
    auto stream = Stream::make();
    REQUIRE(stream.ok());
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    REQUIRE(cudaStreamBeginCapture(stream->get(), cudaStreamCaptureModeGlobal) == cudaSuccess);
    pass.fused(stream->get());
    REQUIRE(cudaStreamEndCapture(stream->get(), &graph) == cudaSuccess);
    REQUIRE(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
    for (const int first : {3900, 0, 1, 15, 16, 63, 64, 65, 777, 2048}) {
      pass.kv.sequences[0].first = first;
      // A sequence that has no row in this step.
      pass.kv.sequences[1].n_rows = first == 777 ? 0 : rows;
      REQUIRE(cudaMemcpy(pass.kv.device_sequences.data(), pass.kv.sequences.data(),
                         pass.kv.sequences.size() * sizeof(Sequence),
                         cudaMemcpyHostToDevice) == cudaSuccess);
      // Not reset(): other positions are new now, and the old ones have been filled.
      REQUIRE(cudaMemset(pass.out.data(), 0, pass.out.bytes()) == cudaSuccess);
      pass.apart();
      const auto expected = pass.result();
      REQUIRE(cudaMemset(pass.out.data(), 0, pass.out.bytes()) == cudaSuccess);
      REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
      REQUIRE(cudaGraphLaunch(executable, stream->get()) == cudaSuccess);
      INFO(rows << " rows behind " << first);
      CHECK(testing::relative_error(pass.result(), expected) < kTolerance);
    }
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }
}

}  // namespace
}  // namespace fimd::cuda
