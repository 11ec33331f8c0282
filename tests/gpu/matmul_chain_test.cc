// Chains of products against the same products one at a time.
#include "tests/gpu/weights.h"

namespace fimd::cuda {
namespace {

using testing::DeviceMatrix;

/// A layer's weights: what its heads attended to -> x -> MLP -> the next layer's projections.
struct Layer {
  DeviceMatrix out, gate, up, down, q, k;
  DeviceBuffer bias;
};

struct Types {
  DType out, gate, up, down, q, k;
};

Layer random_layer(const Types& types, int64_t cols, int64_t ff, unsigned seed) {
  const auto make = [&](DType type, int64_t rows, int64_t columns) {
    return testing::packed(testing::random_weights(type, rows, columns, seed++));
  };
  Layer layer = {make(types.out, cols, cols),
                 make(types.gate, ff, cols),
                 make(types.up, ff, cols),
                 make(types.down, cols, ff),
                 make(types.q, 400, cols),
                 make(types.k, 72, cols),
                 testing::to_device(testing::random_floats(72, seed, 0.5F))};
  return layer;
}

struct Buffers {
  DeviceBuffer x, qk, scratch;
  testing::DeviceActivations act, between;
};

constexpr int64_t kProjected = 472;

/// The steps of one layer: qk (n_rows, kProjected) stands for the attention's output as well.
std::vector<MatmulStep> steps_of(const Layer& w, const Buffers& b, const DeviceBuffer& norm,
                                 const DeviceBuffer& att) {
  const int64_t cols = w.out.matrix.rows, ff = w.gate.matrix.rows;
  float* x = b.x.as<float>();
  float* qk = b.qk.as<float>();
  const FloatInput normed = {x, cols, norm.as<float>(), 1e-6F};
  return {
      {.tasks = {{.w = w.out.matrix, .y = x, .y_stride = cols, .accumulate = true}},
       .floats = {.x = att.as<float>(), .cols = cols},
       .x = b.act.view},
      {.tasks = {{.w = w.gate.matrix, .y = b.scratch.as<float>(), .y_stride = 2 * ff},
                 {.w = w.up.matrix, .y = b.scratch.as<float>() + ff, .y_stride = 2 * ff}},
       .floats = normed,
       .x = b.act.view,
       .swiglu = true,
       .out = b.between.view},
      {.tasks = {{.w = w.down.matrix, .y = x, .y_stride = cols, .accumulate = true}},
       .x = b.between.view},
      {.tasks =
           {{.w = w.q.matrix, .y = qk, .y_stride = kProjected},
            {.w = w.k.matrix, .bias = w.bias.as<float>(), .y = qk + 400, .y_stride = kProjected}},
       .floats = normed,
       .x = b.act.view}};
}

/// The products by kernels that know of one only.
void one_at_a_time(const MatmulStep& step, int n_rows) {
  const FloatInput& in = step.floats;
  if (in.norm != nullptr) {
    rms_norm_quantize(in.x, in.norm, in.eps, n_rows, step.x, nullptr);
  } else if (in.x != nullptr) {
    quantize(in.x, n_rows, step.x, nullptr);
  }
  const std::span<const MatmulTask> tasks(step.tasks, step.tasks[1].w.data != nullptr ? 2 : 1);
  if (!step.swiglu) return matmul(tasks, step.x, n_rows, nullptr);
  matmul(tasks, step.x, n_rows, nullptr);
  silu_mul_quantize(tasks[0].y, tasks[1].y, tasks[0].y_stride, n_rows, step.out, nullptr);
}

struct Case {
  Types types;
  int64_t cols, ff;
};
constexpr DType kQ4 = DType::kQ4_K, kQ6 = DType::kQ6_K, kQ8 = DType::kQ8_0, kBf = DType::kBF16;

/// Layers of one kind, and what they make of the first rows of one input.
struct Run {
  const Case& c;
  std::vector<Layer> layers;
  DeviceBuffer norm;
  std::vector<uint32_t> first_bits;  // what x begins with
  testing::DeviceChainWorkspace workspace;
  Stream stream;

  explicit Run(const Case& of) : c(of), stream(std::move(Stream::make().value())) {
    constexpr int kLayers = 3;
    for (unsigned l = 0; l < kLayers; ++l) {
      layers.push_back(random_layer(c.types, c.cols, c.ff, 900 + 10 * l));
    }
    norm = testing::to_device(testing::random_floats(static_cast<size_t>(c.cols), 990));
    workspace = testing::make_chain_workspace(c.cols, c.ff);
  }

  struct Result {
    std::vector<float> x, qk;
    bool operator==(const Result& other) const { return same(x, other.x) && same(qk, other.qk); }
    static bool same(const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    }
    Result first_rows(int n_rows, int64_t cols) const {
      return {{x.begin(), x.begin() + n_rows * cols},
              {qk.begin(), qk.begin() + n_rows * kProjected}};
    }
  };
  /// `run(steps, next)` enqueues a layer in front of another, or of none.
  template <class RunLayer>
  Result operator()(int n_rows, const RunLayer& run) const {
    const auto n = static_cast<size_t>(n_rows * c.cols);
    const auto n_qk = static_cast<size_t>(n_rows * kProjected);
    const DeviceBuffer att = testing::to_device(testing::random_floats(n, 992));
    std::vector<float> x = testing::random_floats(n, 991);
    std::memcpy(x.data(), first_bits.data(), first_bits.size() * sizeof(float));
    const Buffers buffers = {testing::to_device(x), testing::poisoned<float>(n_qk),
                             testing::poisoned<float>(static_cast<size_t>(n_rows * 2 * c.ff)),
                             testing::make_activations(n_rows, c.cols),
                             testing::make_activations(n_rows, c.ff)};
    std::vector<MatmulStep> steps = steps_of(layers.front(), buffers, norm, att);
    for (size_t l = 1; l <= layers.size(); ++l) {
      std::vector<MatmulStep> next;
      if (l < layers.size()) next = steps_of(layers[l], buffers, norm, att);
      run(steps, next);
      steps = std::move(next);
    }
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    return {testing::to_host<float>(buffers.x, n), testing::to_host<float>(buffers.qk, n_qk)};
  }
  Result chained(int n_rows) const {
    return (*this)(n_rows, [&](const auto& steps, const auto& next) {
      matmul_chain(steps, n_rows, workspace.view, stream.get(), next);
    });
  }
  /// Each step when the one in front of it has ended.
  Result one_by_one(int n_rows) const {
    return (*this)(n_rows, [&](const auto& steps, const auto&) {
      for (const MatmulStep& step : steps) {
        matmul_chain({&step, 1}, n_rows, workspace.view, stream.get());
        REQUIRE(stream.synchronize().ok());
      }
    });
  }
};

/// The same bits as a chain of one step at a time, again and again, and those of other products up
/// to rounding.
void compare(std::span<const Case> cases, std::initializer_list<int> rows, int repetitions) {
  for (const Case& c : cases) {
    const Run run(c);
    CAPTURE(c.cols);
    CAPTURE(c.ff);
    for (const int n_rows : rows) {
      CAPTURE(n_rows);
      const auto want = run.one_by_one(n_rows);
      for (int again = 0; again < repetitions; ++again) REQUIRE(run.chained(n_rows) == want);
      const auto apart = run(n_rows, [&](const auto& steps, const auto&) {
        for (const MatmulStep& step : steps) {
          one_at_a_time(step, n_rows);
          REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
        }
      });
      // Activations are quantised again and again: one step more or less is 1 / 254. BF16 ones are
      // rounded to 8 bits, before the norm's factor or behind it.
      const bool bf16 = c.types.out == kBf || c.types.k == kBf;
      const double tolerance = bf16 ? 2e-2 : 8e-3;
      CHECK(testing::relative_error(want.x, apart.x) < tolerance);
      CHECK(testing::relative_error(want.qk, apart.qk) < tolerance);
    }
  }
}

TEST_CASE("matmul_chain: the same bits as one step at a time") {
  const Case cases[] = {
      {{kQ4, kQ4, kQ4, kQ6, kQ4, kQ6}, 1536, 4096},
      {{kQ4, kQ4, kQ4, kQ4, kQ4, kQ4}, 3584, 1024},
      {{kBf, kBf, kBf, kBf, kBf, kBf}, 768, 2048},
      {{kQ8, kQ8, kQ8, kQ8, kQ8, kQ8}, 256, 544},
      {{kQ4, kQ4, kQ4, kQ6, kQ4, kQ4}, 512, 7680},   // few columns, long rows
      {{kQ4, kQ4, kQ4, kQ4, kQ4, kQ4}, 256, 18944},  // row tiles of one item, a streamed input
      {{kBf, kBf, kBf, kBf, kBf, kBf}, 256, 18944},
      {{kBf, kBf, kBf, kBf, kBf, kBf}, 5120, 96},  // everything streamed
      {{kQ8, kQ4, kBf, kBf, kQ4, kBf}, 512, 768},  // kinds mixed, between and in steps
      {{kBf, kQ4, kQ4, kQ4, kBf, kBf}, 1024, 1280}};
  compare(cases, {1, 2, 3, 4, 7, 8, 11, 33}, 4);
}

TEST_CASE("matmul_chain: a row's result is the same to the bit beside others") {
  const Case cases[] = {{{kQ4, kQ4, kQ4, kQ6, kQ4, kQ6}, 1536, 8960},
                        {{kBf, kBf, kBf, kBf, kBf, kBf}, 768, 2048}};
  for (const Case& c : cases) {
    const Run run(c);
    const auto all = run.chained(8);
    for (const int n_rows : {1, 2, 3, 5}) {
      CAPTURE(n_rows);
      CHECK(run.chained(n_rows) == all.first_rows(n_rows, c.cols));
    }
  }
}

TEST_CASE("matmul_chain: small ones") {
  const Case cases[] = {{{kQ4, kQ4, kQ4, kQ6, kQ4, kQ4}, 256, 512},
                        {{kBf, kBf, kBf, kBf, kBf, kBf}, 128, 96}};
  compare(cases, {1, 2, 3, 8}, 1);
}

TEST_CASE("matmul_chain: what is no number, or no common one, is handed on as well") {
  const Case cases[] = {{{kQ4, kQ4, kQ4, kQ6, kQ4, kQ6}, 1536, 4096},
                        {{kBf, kBf, kBf, kBf, kBf, kBf}, 768, 2048}};
  // NaNs of all bits, infinity, zeros of both signs, and the smallest numbers.
  const std::vector<uint32_t> odd = {0xFFFFFFFF, 0x7FFFFFFF, 0x7F800000, 0xFF800000,
                                     0x80000000, 0x00000000, 0x80808080, 0x00000001};
  for (const Case& c : cases) {
    Run run(c);
    for (size_t n = 1; n <= odd.size(); ++n) {
      CAPTURE(n);
      // All of them up to one; then what comes last alone.
      run.first_bits = n == odd.size() ? std::vector<uint32_t>(odd.begin() + 4, odd.end())
                                       : std::vector<uint32_t>(
                                             odd.begin(), odd.begin() + static_cast<ptrdiff_t>(n));
      const auto want = run.one_by_one(1);
      CHECK(run.chained(1) == want);
    }
  }
}

TEST_CASE("matmul_chain: a workspace without room for words") {
  const Case c = {{kQ4, kQ4, kQ4, kQ6, kQ4, kQ6}, 1536, 4096};
  Run run(c);
  const auto want = run.chained(1);
  run.workspace.view.bytes = 128;
  CHECK(run.chained(1) == want);
}

}  // namespace
}  // namespace fimd::cuda
