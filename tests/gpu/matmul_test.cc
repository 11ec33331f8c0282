// Products against sums in double precision over the file's weights and the activations as
// quantised.
#include "tests/gpu/weights.h"

namespace fimd::cuda {
namespace {

using testing::DeviceMatrix;
using testing::FileWeights;

constexpr DType kTypes[] = {DType::kQ4_0, DType::kQ8_0, DType::kQ4_K,
                            DType::kQ5_K, DType::kQ6_K, DType::kBF16};

std::vector<float> random_x(int n_rows, int64_t cols, unsigned seed) {
  auto x = testing::random_floats(static_cast<size_t>(n_rows * cols), seed);
  for (size_t i = 0; i < x.size(); i += 97) x[i] *= 20.0F;  // outliers, as activations have
  return x;
}

std::vector<double> reference(const FileWeights& w, const std::vector<float>& x, int n_rows) {
  const auto seen = testing::as_quantized(x, w.type == DType::kBF16);
  std::vector<double> y(static_cast<size_t>(n_rows * w.rows));
  for (int t = 0; t < n_rows; ++t) {
    for (int64_t r = 0; r < w.rows; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < w.cols; ++c) {
        sum += static_cast<double>(w.values[static_cast<size_t>(r * w.cols + c)]) *
               seen[static_cast<size_t>(t * w.cols + c)];
      }
      y[static_cast<size_t>(t * w.rows + r)] = sum;
    }
  }
  return y;
}

// y (n_rows, rows) of one task; the gap behind each row must stay as it was.
std::vector<float> product(const DeviceMatrix& w, const std::vector<float>& x, int n_rows) {
  const int64_t rows = w.matrix.rows, cols = w.matrix.cols, stride = rows + 5;
  const DeviceBuffer device_x = testing::to_device(x);
  const auto activations = testing::make_activations(n_rows, cols);
  quantize(device_x.as<float>(), n_rows, activations.view, nullptr);
  const DeviceBuffer y = testing::poisoned<float>(static_cast<size_t>(n_rows * stride));
  const MatmulTask task{.w = w.matrix, .y = y.as<float>(), .y_stride = stride};
  matmul({&task, 1}, activations.view, n_rows, nullptr);
  const auto all = testing::to_host<uint32_t>(y, static_cast<size_t>(n_rows * stride));
  std::vector<float> result;
  size_t touched = 0;
  for (int t = 0; t < n_rows; ++t) {
    for (int64_t r = 0; r < stride; ++r) {
      const uint32_t bits = all[static_cast<size_t>(t * stride + r)];
      if (r >= rows) {
        touched += bits != 0xFFFFFFFFU ? 1 : 0;
        continue;
      }
      float v;
      std::memcpy(&v, &bits, 4);
      result.push_back(v);
    }
  }
  CHECK(touched == 0);
  return result;
}

TEST_CASE("matmul: every format, number of rows of x and odd shape") {
  for (const DType type : kTypes) {
    std::vector<std::pair<int64_t, int64_t>> shapes = {
        {1, 256}, {16, 512}, {40, 1536}, {33, 2304}, {2200, 256}};
    if (testing::format_of(type).block_elements <= 32) {
      shapes.insert(shapes.end(), {{16, 32}, {21, 96}, {48, 896}, {17, 1312}});
    }
    for (const auto& [rows, cols] : shapes) {
      const FileWeights w = testing::random_weights(type, rows, cols, 21);
      const DeviceMatrix matrix = testing::packed(w);
      for (const int n_rows : {1, 2, 3, 4, 5, 8, 9, 16, 23, 32, 64}) {
        if (rows > 1000 && n_rows > 9) continue;
        CAPTURE(testing::format_of(type).name);
        CAPTURE(rows);
        CAPTURE(cols);
        CAPTURE(n_rows);
        const auto x = random_x(n_rows, cols, 22);
        CHECK(testing::relative_error(product(matrix, x, n_rows), reference(w, x, n_rows)) < 6e-6);
      }
    }
  }
}

TEST_CASE("matmul: long rows stream their activations") {
  for (const DType type : kTypes) {
    const FileWeights w = testing::random_weights(type, 32, 18944, 31);
    const DeviceMatrix matrix = testing::packed(w);
    for (const int n_rows : {1, 2, 4, 8, 12}) {
      CAPTURE(testing::format_of(type).name);
      CAPTURE(n_rows);
      const auto x = random_x(n_rows, 18944, 32);
      CHECK(testing::relative_error(product(matrix, x, n_rows), reference(w, x, n_rows)) < 6e-6);
    }
  }
}

// Sums of some rows only: the whole reference would take minutes.
TEST_CASE("matmul: as many and as long rows as real models have") {
  struct Case {
    DType type;
    int64_t rows, cols;
  };
  for (const Case& c : {Case{DType::kQ4_K, 18944, 3584}, Case{DType::kQ4_0, 18944, 256},
                        Case{DType::kBF16, 9000, 1536}, Case{DType::kQ6_K, 3584, 18944},
                        Case{DType::kBF16, 256, 18944}, Case{DType::kQ8_0, 33000, 512}}) {
    FileWeights w = testing::random_weights(c.type, c.rows, c.cols, 35);
    const DeviceMatrix matrix = testing::packed(w);
    FileWeights some{c.type, 0, c.cols, {}, {}};
    std::vector<int64_t> chosen;
    for (int64_t r = 5; r < c.rows; r += c.rows / 61 + 1) {
      chosen.push_back(r);
      some.values.insert(some.values.end(), w.values.begin() + r * c.cols,
                         w.values.begin() + (r + 1) * c.cols);
    }
    some.rows = static_cast<int64_t>(chosen.size());
    for (const int n_rows : {1, 2, 4, 8, 12, 36, 64}) {
      CAPTURE(testing::format_of(c.type).name);
      CAPTURE(c.rows);
      CAPTURE(n_rows);
      const auto x = random_x(n_rows, c.cols, 36);
      const auto all = product(matrix, x, n_rows);
      std::vector<float> got;
      for (int t = 0; t < n_rows; ++t) {
        for (const int64_t r : chosen) got.push_back(all[static_cast<size_t>(t * c.rows + r)]);
      }
      CHECK(testing::relative_error(got, reference(some, x, n_rows)) < 6e-6);
      size_t finite = 0;
      for (const float v : all) finite += std::isfinite(v) ? 1 : 0;
      CHECK(finite == all.size());
    }
  }
}

TEST_CASE("matmul: a row's result is the same to the bit beside others, few or many") {
  for (const DType type : kTypes) {
    const FileWeights w = testing::random_weights(type, 48, 3584, 41);
    const DeviceMatrix matrix = testing::packed(w);
    const auto x = random_x(64, 3584, 42);
    const auto compare = [&](std::initializer_list<int> some_rows, int all_rows) {
      const auto all = product(matrix, x, all_rows);
      for (const int n_rows : some_rows) {
        const std::vector<float> first(x.begin(), x.begin() + n_rows * 3584);
        const auto some = product(matrix, first, n_rows);
        CAPTURE(testing::format_of(type).name);
        CAPTURE(n_rows);
        CHECK(std::memcmp(some.data(), all.data(), some.size() * sizeof(float)) == 0);
      }
    };
    compare({1, 2, 4, 7}, 8);
    compare({9, 16, 32}, 64);
  }
}

TEST_CASE("matmul: several tasks of different formats, with bias, accumulating") {
  const int64_t cols = 1024;
  const FileWeights files[] = {testing::random_weights(DType::kQ4_K, 200, cols, 51),
                               testing::random_weights(DType::kBF16, 24, cols, 52),
                               testing::random_weights(DType::kQ6_K, 72, cols, 53),
                               testing::random_weights(DType::kQ8_0, 16, cols, 54)};
  for (const int n_rows : {1, 3, 8, 20}) {
    const auto x = random_x(n_rows, cols, 55);
    const DeviceBuffer device_x = testing::to_device(x);
    const auto activations = testing::make_activations(n_rows, cols);
    quantize(device_x.as<float>(), n_rows, activations.view, nullptr);
    std::vector<DeviceMatrix> matrices;
    std::vector<DeviceBuffer> biases, outputs;
    std::vector<std::vector<float>> bias_values, before;
    std::vector<MatmulTask> tasks;
    for (const FileWeights& w : files) {
      matrices.push_back(testing::packed(w));
      bias_values.push_back(testing::random_floats(static_cast<size_t>(w.rows), 56));
      before.push_back(testing::random_floats(static_cast<size_t>(n_rows * w.rows), 57, 10.0F));
      biases.push_back(testing::to_device(bias_values.back()));
      outputs.push_back(testing::to_device(before.back()));
      tasks.push_back({.w = matrices.back().matrix,
                       .bias = biases.back().as<float>(),
                       .y = outputs.back().as<float>(),
                       .y_stride = w.rows,
                       .accumulate = w.type != DType::kQ8_0});
    }
    matmul(tasks, activations.view, n_rows, nullptr);
    for (size_t i = 0; i < tasks.size(); ++i) {
      const FileWeights& w = files[i];
      auto want = reference(w, x, n_rows);
      for (size_t j = 0; j < want.size(); ++j) {
        want[j] += bias_values[i][j % static_cast<size_t>(w.rows)];
        if (tasks[i].accumulate) want[j] += before[i][j];
      }
      CAPTURE(n_rows);
      CAPTURE(i);
      CHECK(testing::relative_error(testing::to_host<float>(outputs[i], want.size()), want) < 6e-6);
    }
  }
}

TEST_CASE(
    "matmul of floats: as quantising first to the bit, as normalising first but for rounding") {
  for (const DType type : kTypes) {
    for (const int64_t cols : {256, 1536, 3584}) {
      for (const int n_rows : {1, 2}) {
        CAPTURE(testing::format_of(type).name);
        CAPTURE(cols);
        const DeviceMatrix w = testing::packed(testing::random_weights(type, 40, cols, 71));
        const DeviceBuffer x = testing::to_device(random_x(n_rows, cols, 72));
        const DeviceBuffer norm =
            testing::to_device(testing::random_floats(static_cast<size_t>(cols), 73));
        const auto n = static_cast<size_t>(n_rows * 40);
        for (const bool normed : {false, true}) {
          const auto activations = testing::make_activations(n_rows, cols);
          if (normed) {
            rms_norm_quantize(x.as<float>(), norm.as<float>(), 1e-5F, n_rows, activations.view,
                              nullptr);
          } else {
            quantize(x.as<float>(), n_rows, activations.view, nullptr);
          }
          const DeviceBuffer y1 = testing::poisoned<float>(n);
          const DeviceBuffer y2 = testing::poisoned<float>(n);
          const MatmulTask one{.w = w.matrix, .y = y1.as<float>(), .y_stride = 40};
          const MatmulTask two{.w = w.matrix, .y = y2.as<float>(), .y_stride = 40};
          matmul({&one, 1}, activations.view, n_rows, nullptr);
          const FloatInput floats{x.as<float>(), cols, normed ? norm.as<float>() : nullptr, 1e-5F};
          matmul({&two, 1}, floats, n_rows, nullptr);
          const auto want = testing::to_host<float>(y1, n);
          const auto got = testing::to_host<float>(y2, n);
          for (const float v : want) REQUIRE(std::isfinite(v));
          if (normed) {
            // BF16 activations are rounded to 8 bits before the factor instead of behind it.
            CHECK(testing::relative_error(got, want) < (type == DType::kBF16 ? 5e-3 : 1e-3));
          } else {
            CHECK(std::memcmp(want.data(), got.data(), n * sizeof(float)) == 0);
          }
        }
      }
    }
  }
}

/// out = silu(x . gate^T) * (x . up^T) in one launch; x is normalised first if there is a norm.
void swiglu(const DeviceMatrix& gate, const DeviceMatrix& up, const FloatInput& floats,
            const Activations& x, int n_rows, const Activations& out,
            const ChainWorkspace& workspace, cudaStream_t stream) {
  const MatmulStep step = {.tasks = {{.w = gate.matrix}, {.w = up.matrix}},
                           .floats = floats,
                           .x = x,
                           .swiglu = true,
                           .out = out};
  matmul_chain({&step, 1}, n_rows, workspace, stream);
}

// x <- x + down(silu(gate(norm x)) * up(norm x)), over and over: each kernel reads what the one
// before wrote while its own weights are already being fetched.
void enqueue_chain(const DeviceMatrix* w, const DeviceBuffer& norm, float* x, float* hidden,
                   const Activations& a, const Activations& b, int n_rows,
                   const ChainWorkspace& workspace, cudaStream_t stream) {
  const int64_t cols = w[0].matrix.cols, ff = w[0].matrix.rows;
  for (int layer = 0; layer < 12; ++layer) {
    const MatmulTask down{.w = w[2].matrix, .y = x, .y_stride = cols, .accumulate = true};
    if (n_rows <= kMaxFloatRows) {
      swiglu(w[0], w[1], {x, cols, norm.as<float>(), 1e-6F}, a, n_rows, b, workspace, stream);
      matmul({&down, 1}, b, n_rows, stream);
      continue;
    }
    rms_norm_quantize(x, norm.as<float>(), 1e-6F, n_rows, a, stream);
    const MatmulTask up[2] = {{.w = w[0].matrix, .y = hidden, .y_stride = 2 * ff},
                              {.w = w[1].matrix, .y = hidden + ff, .y_stride = 2 * ff}};
    matmul(up, a, n_rows, stream);
    silu_mul_quantize(hidden, hidden + ff, 2 * ff, n_rows, b, stream);
    matmul({&down, 1}, b, n_rows, stream);
  }
}

TEST_CASE("matmul: chains in a graph give what they give one kernel at a time") {
  const int64_t cols = 512, ff = 1536;
  for (const DType type : {DType::kQ4_0, DType::kQ4_K, DType::kBF16}) {
    const DeviceMatrix w[3] = {testing::packed(testing::random_weights(type, ff, cols, 61)),
                               testing::packed(testing::random_weights(type, ff, cols, 62)),
                               testing::packed(testing::random_weights(type, cols, ff, 63))};
    const DeviceBuffer norm = testing::to_device(testing::random_floats(cols, 64));
    for (const int n_rows : {1, 6, 40}) {
      CAPTURE(testing::format_of(type).name);
      CAPTURE(n_rows);
      const auto n = static_cast<size_t>(n_rows * cols);
      const auto x = testing::random_floats(n, 65);
      const auto a = testing::make_activations(n_rows, cols);
      const auto b = testing::make_activations(n_rows, ff);
      const DeviceBuffer hidden = testing::poisoned<float>(static_cast<size_t>(n_rows * 2 * ff));
      const auto workspace = testing::make_chain_workspace(cols, ff);
      auto stream = Stream::make();
      REQUIRE(stream.ok());
      const DeviceBuffer eager = testing::to_device(x);
      enqueue_chain(w, norm, eager.as<float>(), hidden.as<float>(), a.view, b.view, n_rows,
                    workspace.view, stream->get());
      const auto want = testing::to_host<float>(eager, n);
      for (const float v : want) REQUIRE(std::isfinite(v));

      const DeviceBuffer state = testing::to_device(x);
      cudaGraph_t graph = nullptr;
      cudaGraphExec_t exec = nullptr;
      REQUIRE(cudaStreamBeginCapture(stream->get(), cudaStreamCaptureModeThreadLocal) ==
              cudaSuccess);
      enqueue_chain(w, norm, state.as<float>(), hidden.as<float>(), a.view, b.view, n_rows,
                    workspace.view, stream->get());
      REQUIRE(cudaStreamEndCapture(stream->get(), &graph) == cudaSuccess);
      REQUIRE(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
      for (int replay = 0; replay < 20; ++replay) {
        REQUIRE(cudaMemcpyAsync(state.data(), x.data(), n * sizeof(float), cudaMemcpyHostToDevice,
                                stream->get()) == cudaSuccess);
        REQUIRE(cudaGraphLaunch(exec, stream->get()) == cudaSuccess);
        REQUIRE(cudaStreamSynchronize(stream->get()) == cudaSuccess);
        const auto got = testing::to_host<float>(state, n);
        REQUIRE(std::memcmp(got.data(), want.data(), n * sizeof(float)) == 0);
      }
      cudaGraphExecDestroy(exec);
      cudaGraphDestroy(graph);
    }
  }
}

// As an engine does: all products of a kind read the same buffer, which the next one's input is
// written to. `between` is called after every launch.
template <class Between>
void enqueue_reusing(const DeviceMatrix* w, const DeviceBuffer& norm, float* x, float* att,
                     const Activations& shared, const Activations& ff, int n_rows,
                     const ChainWorkspace& workspace, cudaStream_t stream, Between between) {
  const int64_t cols = w[0].matrix.cols;
  for (int layer = 0; layer < 4; ++layer) {
    const MatmulTask qkv{.w = w[3].matrix, .y = att, .y_stride = cols};
    const MatmulTask o{.w = w[4].matrix, .y = x, .y_stride = cols, .accumulate = true};
    const MatmulTask down{.w = w[2].matrix, .y = x, .y_stride = cols, .accumulate = true};
    rms_norm_quantize(x, norm.as<float>(), 1e-6F, n_rows, shared, stream);
    between();
    matmul({&qkv, 1}, shared, n_rows, stream);
    between();
    quantize(att, n_rows, shared, stream);
    between();
    matmul({&o, 1}, shared, n_rows, stream);
    between();
    if (n_rows <= kMaxFloatRows) {
      swiglu(w[0], w[1], {x, cols, norm.as<float>(), 1e-6F}, shared, n_rows, ff, workspace, stream);
    } else {
      rms_norm_quantize(x, norm.as<float>(), 1e-6F, n_rows, shared, stream);
      between();
      swiglu(w[0], w[1], {}, shared, n_rows, ff, workspace, stream);
    }
    between();
    matmul({&down, 1}, ff, n_rows, stream);
    between();
  }
}

TEST_CASE("matmul: wide layers that reuse their buffers do not depend on the order in time") {
  for (const auto& [cols, ff] : {std::pair<int64_t, int64_t>{256, 18944}, {3584, 1024}}) {
    for (const DType type : {DType::kQ4_0, DType::kBF16}) {
      const DeviceMatrix w[5] = {testing::packed(testing::random_weights(type, ff, cols, 91)),
                                 testing::packed(testing::random_weights(type, ff, cols, 92)),
                                 testing::packed(testing::random_weights(type, cols, ff, 93)),
                                 testing::packed(testing::random_weights(type, cols, cols, 94)),
                                 testing::packed(testing::random_weights(type, cols, cols, 95))};
      const DeviceBuffer norm =
          testing::to_device(testing::random_floats(static_cast<size_t>(cols), 96));
      auto stream = Stream::make();
      REQUIRE(stream.ok());
      for (const int n_rows : {1, 8, 36, 64}) {
        CAPTURE(testing::format_of(type).name);
        CAPTURE(cols);
        CAPTURE(n_rows);
        const auto n = static_cast<size_t>(n_rows * cols);
        const auto start = testing::random_floats(n, 97);
        const auto run = [&](auto between) {
          const auto shared = testing::make_activations(n_rows, cols);
          const auto hidden = testing::make_activations(n_rows, ff);
          const DeviceBuffer att = testing::poisoned<float>(n);
          const DeviceBuffer x = testing::to_device(start);
          const auto workspace = testing::make_chain_workspace(cols, ff);
          enqueue_reusing(w, norm, x.as<float>(), att.as<float>(), shared.view, hidden.view, n_rows,
                          workspace.view, stream->get(), between);
          return testing::to_host<float>(x, n);
        };
        const auto want = run([&] { REQUIRE(stream->synchronize().ok()); });
        for (const float v : want) REQUIRE(std::isfinite(v));
        for (int again = 0; again < 5; ++again) {
          const auto got = run([] {});
          REQUIRE(std::memcmp(got.data(), want.data(), n * sizeof(float)) == 0);
        }
      }
    }
  }
}
}  // namespace
}  // namespace fimd::cuda
