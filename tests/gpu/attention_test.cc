#include <array>
#include <cstring>
#include <string>

#include "tests/gpu/paged_kv.h"

namespace fimd::cuda {
namespace {

using testing::AttentionShape;
using testing::PagedKv;
using testing::poisoned;
using testing::Span;
using testing::to_device;
using testing::to_host;

// Weights and partial outputs are rounded to half: 2^-11 each, averaged over the keys.
constexpr double kTolerance = 2e-3;

struct Run {
  Run(const AttentionShape& shape, unsigned seed)
      : shape(shape),
        kv(shape, seed),
        n_heads(shape.n_kv_heads * shape.group),
        // Scores of deviation 1.5 in log2: neither uniform nor a single key.
        q(testing::random_halves(elements(), seed + 3,
                                 1.5F / std::sqrt(static_cast<float>(shape.head_dim)))),
        device_q(to_device(q, 1)),
        out(poisoned<float>(elements())),
        workspace(to_device(
            std::vector<char>(attention_workspace_bytes(kv.n_rows, n_heads, shape.head_dim)))) {
    params = kv.attention_params();
    params.q = device_q.as<__half>();
    params.out = out.as<float>();
    params.workspace = workspace.data();
  }

  size_t elements() const {
    return static_cast<size_t>(kv.n_rows) * static_cast<size_t>(n_heads * shape.head_dim);
  }

  std::vector<float> result() {
    REQUIRE(cudaMemset(out.data(), 0xFF, out.bytes()) == cudaSuccess);
    attention(params, nullptr);
    return to_host<float>(out, elements());
  }

  /// Compares up to `limit` (row, head) pairs of every sequence, the first and the last among them.
  void check(const std::vector<float>& got, int limit = 48) const {
    for (const float x : got) REQUIRE(std::isfinite(x));
    const auto dim = static_cast<size_t>(shape.head_dim);
    for (size_t s = 0; s < kv.sequences.size(); ++s) {
      const int pairs = shape.spans[s].n_rows * n_heads;
      const int count = std::min(limit, pairs);
      std::vector<double> expected;
      std::vector<float> actual;
      for (int i = 0; i < count; ++i) {
        const int pair = count == 1 ? 0 : static_cast<int>(int64_t{i} * (pairs - 1) / (count - 1));
        const std::vector<double> row = kv.reference(q, s, pair / n_heads, pair % n_heads);
        expected.insert(expected.end(), row.begin(), row.end());
        const size_t at = static_cast<size_t>(kv.sequences[s].row_begin * n_heads + pair) * dim;
        actual.insert(actual.end(), got.begin() + static_cast<ptrdiff_t>(at),
                      got.begin() + static_cast<ptrdiff_t>(at + dim));
      }
      INFO("sequence " << s << ": " << shape.spans[s].n_rows << " rows behind "
                       << shape.spans[s].first);
      if (!expected.empty()) CHECK(testing::relative_error(actual, expected) < kTolerance);
    }
  }

  AttentionShape shape;
  PagedKv kv;
  int n_heads;
  std::vector<__half> q;
  DeviceBuffer device_q, out, workspace;
  AttentionParams params;
};

std::string name(const AttentionShape& s) {
  return "head_dim " + std::to_string(s.head_dim) + ", group " + std::to_string(s.group) +
         ", pages of " + std::to_string(s.page_tokens) + ", window " + std::to_string(s.window);
}

TEST_CASE("attention is that of the definition, over odd shapes") {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const int dims[] = {64, 80, 96, 128, 256};
  unsigned seed = 100;
  for (const int dim : dims) {
    for (int group = 1; group <= 8; ++group) {
      AttentionShape shape;
      shape.head_dim = dim;
      shape.group = group;
      shape.n_kv_heads = 1 + below(2);
      shape.page_tokens = 16 << below(3);
      shape.window = below(3) == 0 ? 1 + below(600) : 0;
      // One token for each of several, a keystroke's few, a prompt's many.
      const int most[] = {1, 9, 200};
      for (const int rows : most) {
        shape.spans.clear();
        const int n_sequences = 1 + below(4);
        for (int s = 0; s < n_sequences; ++s) {
          const int firsts[] = {0, below(70), below(700), below(2600)};
          shape.spans.push_back({1 + below(rows), firsts[below(4)]});
        }
        INFO(name(shape));
        Run run(shape, seed += 10);
        run.check(run.result(), 24);
      }
    }
  }
}

TEST_CASE("attention of long prefixes") {
  for (const int rows : {1, 8, 33, 200}) {
    AttentionShape shape;
    shape.n_kv_heads = 2;
    shape.group = 7;
    shape.spans = {{rows, 5000}, {1, 0}, {rows, 4095}};
    INFO(rows << " rows");
    Run run(shape, 20U + static_cast<unsigned>(rows));
    run.check(run.result(), 16);
  }
}

TEST_CASE("attention of pages of codes is that of what the codes say") {
  for (const int dim : {64, 80, 96, 128, 256}) {
    for (const int rows : {1, 9, 100}) {
      for (const int window : {0, 150}) {
        AttentionShape shape;
        shape.coded = true;
        shape.head_dim = dim;
        shape.n_kv_heads = 2;
        shape.group = 3;
        shape.page_tokens = window > 0 ? 16 : 64;
        shape.window = window;
        shape.spans = {{rows, 700}, {0, 90}, {1, 0}, {rows, 37}};
        INFO(name(shape) << ", " << rows << " rows");
        Run run(shape, 40U + static_cast<unsigned>(rows));
        run.check(run.result(), 12);
      }
    }
  }
}

TEST_CASE("attention of many editors at once, one without a row") {
  AttentionShape shape;
  shape.n_kv_heads = 4;
  shape.group = 7;
  for (int i = 0; i < 40; ++i) shape.spans.push_back({i == 17 ? 0 : 1 + i % 3, 37 * i});
  Run run(shape, 3);
  run.check(run.result(), 8);
}

TEST_CASE("activations are those that quantize() makes of the output") {
  for (const int dim : {64, 96, 128, 256}) {
    for (const int rows : {1, 3, 9, 30}) {
      for (const int first : {0, 1000}) {
        AttentionShape shape;
        shape.head_dim = dim;
        shape.n_kv_heads = 3;
        shape.group = 3;
        shape.spans = {{rows, first}, {1, 70}};
        Run run(shape, 30);
        const int n = run.kv.n_rows;
        const int64_t cols = run.n_heads * dim;
        const auto make = [&] {
          return std::array{poisoned<char>(q8_bytes(n, cols)), poisoned<char>(bf16_bytes(n, cols)),
                            poisoned<__nv_bfloat16>(run.elements())};
        };
        const auto all = [&](const std::array<DeviceBuffer, 3>& b) {
          return Activations{cols, b[0].data(), b[1].data(), b[2].as<__nv_bfloat16>()};
        };
        const auto direct = make();
        const auto from_output = make();
        run.params.activations = all(direct);
        run.result();
        quantize(run.out.as<float>(), n, all(from_output), nullptr);
        INFO(name(shape) << ": " << rows << " rows behind " << first);
        for (size_t i = 0; i < direct.size(); ++i) {
          const size_t bytes = direct[i].bytes();
          CHECK(to_host<char>(direct[i], bytes) == to_host<char>(from_output[i], bytes));
        }
        run.params.out = nullptr;
        attention(run.params, nullptr);
        CHECK(to_host<char>(direct[0], direct[0].bytes()) ==
              to_host<char>(from_output[0], from_output[0].bytes()));
      }
    }
  }
}

TEST_CASE("attention does not depend on timing, and leaves its workspace ready") {
  AttentionShape shape;
  shape.n_kv_heads = 4;
  shape.group = 7;
  shape.spans = {{2, 3000}, {1, 1500}};
  Run run(shape, 5);
  const std::vector<float> once = run.result();
  for (int i = 0; i < 20; ++i) {
    const std::vector<float> again = run.result();
    REQUIRE(std::memcmp(once.data(), again.data(), once.size() * sizeof(float)) == 0);
  }
}

TEST_CASE("a row's attention does not depend on what other sequences hold") {
  AttentionShape shape;
  shape.n_kv_heads = 2;
  shape.group = 4;
  shape.spans = {{1, 900}, {1, 2000}};
  Run run(shape, 6);
  const std::vector<float> before = run.result();
  // The second becomes short: the first keeps its very bits.
  run.kv.sequences[1].first = 10;
  run.kv.device_sequences = to_device(run.kv.sequences);
  run.params.sequences = run.kv.device_sequences.as<Sequence>();
  const std::vector<float> after = run.result();
  const size_t row = static_cast<size_t>(run.n_heads * shape.head_dim);
  CHECK(std::memcmp(before.data(), after.data(), row * sizeof(float)) == 0);
  CHECK(std::memcmp(before.data() + row, after.data() + row, row * sizeof(float)) != 0);
}

TEST_CASE("a graph made for many keys is right for every length") {
  for (const int rows : {1, 8, 40}) {
    AttentionShape shape;
    shape.n_kv_heads = 2;
    shape.group = 7;
    shape.spans = {{rows, 3900}, {rows, 2000}};
    Run run(shape, 8);
    run.params.max_keys = 4096;
    auto stream = Stream::make();
    REQUIRE(stream.ok());
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    REQUIRE(cudaStreamBeginCapture(stream->get(), cudaStreamCaptureModeGlobal) == cudaSuccess);
    attention(run.params, stream->get());
    REQUIRE(cudaStreamEndCapture(stream->get(), &graph) == cudaSuccess);
    REQUIRE(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
    for (const int first : {3900, 0, 1, 63, 64, 65, 777, 2048}) {
      run.kv.sequences[0].first = run.shape.spans[0].first = first;
      REQUIRE(cudaMemcpy(run.kv.device_sequences.data(), run.kv.sequences.data(),
                         run.kv.sequences.size() * sizeof(Sequence),
                         cudaMemcpyHostToDevice) == cudaSuccess);
      REQUIRE(cudaMemset(run.out.data(), 0xFF, run.out.bytes()) == cudaSuccess);
      REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
      REQUIRE(cudaGraphLaunch(executable, stream->get()) == cudaSuccess);
      INFO(rows << " rows behind " << first);
      run.check(to_host<float>(run.out, run.elements()), 12);
    }
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }
}

TEST_CASE("tokens one by one have the attention that they have together") {
  for (const int window : {0, 100}) {
    AttentionShape shape;
    shape.n_kv_heads = 2;
    shape.group = 5;
    shape.window = window;
    shape.spans = {{150, 300}};
    Run run(shape, 9);
    const std::vector<float> together = run.result();
    std::vector<float> singly(together.size());
    const Sequence all = run.kv.sequences[0];
    const size_t row = static_cast<size_t>(run.n_heads * shape.head_dim);
    for (int begin = 0; begin < all.n_rows;) {
      const int n = std::min(all.n_rows - begin, 1 + begin % 4 * (begin % 3));
      const Sequence part = {begin, n, all.first + begin, all.page_begin};
      run.kv.device_sequences = to_device(std::vector<Sequence>{part});
      run.params.sequences = run.kv.device_sequences.as<Sequence>();
      run.params.max_rows = n;
      run.params.max_keys = part.first + n;
      const std::vector<float> got = [&] {
        attention(run.params, nullptr);
        return to_host<float>(run.out, run.elements());
      }();
      std::copy_n(got.begin() + static_cast<ptrdiff_t>(begin * static_cast<int>(row)),
                  static_cast<size_t>(n) * row,
                  singly.begin() + static_cast<ptrdiff_t>(begin * static_cast<int>(row)));
      begin += n;
    }
    CHECK(testing::relative_error(singly, together) < kTolerance);
  }
}

TEST_CASE("scores far apart, and large values, stay finite") {
  AttentionShape shape;
  shape.group = 3;
  shape.spans = {{5, 500}, {70, 3}};
  Run run(shape, 10);
  for (__half& x : run.q) x = __float2half(__half2float(x) * 200.0F);
  for (__half& x : run.kv.v)
    x = __float2half(std::clamp(__half2float(x) * 20000.0F, -65504.0F, 65504.0F));
  run.device_q = to_device(run.q);
  run.params.q = run.device_q.as<__half>();
  run.kv.device_v = to_device(run.kv.v);
  run.params.kv = run.kv.device();
  run.check(run.result());
}

}  // namespace
}  // namespace fimd::cuda
