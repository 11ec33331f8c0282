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

/// What matmul_chain() promises to equal.
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

/// The same bits as one product at a time, again and again.
void compare(std::span<const Case> cases, std::initializer_list<int> rows, int repetitions) {
  auto stream = Stream::make();
  REQUIRE(stream.ok());
  for (const Case& c : cases) {
    constexpr int kLayers = 3;
    std::vector<Layer> layers;
    for (unsigned l = 0; l < kLayers; ++l) {
      layers.push_back(random_layer(c.types, c.cols, c.ff, 900 + 10 * l));
    }
    const auto n_cols = static_cast<size_t>(c.cols);
    const DeviceBuffer norm = testing::to_device(testing::random_floats(n_cols, 990));
    const DeviceBuffer workspace =
        testing::to_device(std::vector<unsigned long long>(kChainWorkspaceBytes / 8, 0));
    for (const int n_rows : rows) {
      CAPTURE(c.cols);
      CAPTURE(c.ff);
      CAPTURE(n_rows);
      const auto n = static_cast<size_t>(n_rows) * n_cols;
      const auto n_qk = static_cast<size_t>(n_rows * kProjected);
      const auto start = testing::random_floats(n, 991);
      const DeviceBuffer att = testing::to_device(testing::random_floats(n, 992));
      const auto make_buffers = [&] {
        return Buffers{testing::to_device(start), testing::poisoned<float>(n_qk),
                       testing::poisoned<float>(static_cast<size_t>(n_rows * 2 * c.ff)),
                       testing::make_activations(n_rows, c.cols),
                       testing::make_activations(n_rows, c.ff)};
      };
      const Buffers apart = make_buffers();
      for (const Layer& layer : layers) {
        for (const MatmulStep& step : steps_of(layer, apart, norm, att)) {
          one_at_a_time(step, n_rows);
          REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
        }
      }
      const auto want_x = testing::to_host<float>(apart.x, n);
      const auto want_qk = testing::to_host<float>(apart.qk, n_qk);
      for (const float v : want_x) REQUIRE(std::isfinite(v));
      for (const float v : want_qk) REQUIRE(std::isfinite(v));
      for (int again = 0; again < repetitions; ++again) {
        const Buffers chained = make_buffers();
        for (const Layer& layer : layers) {
          matmul_chain(steps_of(layer, chained, norm, att), n_rows, workspace.data(),
                       stream->get());
        }
        REQUIRE(stream->synchronize().ok());
        const auto x = testing::to_host<float>(chained.x, n);
        const auto qk = testing::to_host<float>(chained.qk, n_qk);
        REQUIRE(std::memcmp(x.data(), want_x.data(), n * sizeof(float)) == 0);
        REQUIRE(std::memcmp(qk.data(), want_qk.data(), n_qk * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("matmul_chain: the same bits as one product at a time") {
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

TEST_CASE("matmul_chain: small ones") {
  const Case cases[] = {{{kQ4, kQ4, kQ4, kQ6, kQ4, kQ4}, 256, 512},
                        {{kBf, kBf, kBf, kBf, kBf, kBf}, 128, 96}};
  compare(cases, {1, 2, 3, 8}, 1);
}

}  // namespace
}  // namespace fimd::cuda
