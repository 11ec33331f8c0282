// Times the CUDA operations at the shapes of real models.
// usage: gpu_kernels_bench [--filter TEXT] [--json FILE] [--best]     TEXT: part of "op shape"
// --best: the least time of many short runs instead of the median, for a GPU that others use too.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/bench/gpu_bench.h"

namespace fimd::bench {
namespace {

void require(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "gpu_kernels_bench: %s: %s\n", doing, cudaGetErrorString(error));
  std::exit(1);
}

}  // namespace

GpuBench::GpuBench(std::string filter, bool best) : filter_(std::move(filter)), best_(best) {
  cudaDeviceProp properties;
  require(cudaGetDeviceProperties(&properties, 0), "looking for a GPU");
  l2_bytes_ = static_cast<size_t>(properties.l2CacheSize);
  require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  noise_.resize(size_t{16} << 20);
  std::mt19937 random(1);
  for (size_t i = 0; i < noise_.size(); i += 2) {
    const auto v = static_cast<uint16_t>(random() & 0xBFFFU);  // no exponent of ones
    std::memcpy(noise_.data() + i, &v, 2);
  }
  const size_t bytes = size_t{1} << 30;
  auto* from = static_cast<uint8_t*>(random_bytes(2 * bytes));
  if (from == nullptr) std::exit(1);
  const double us = median_us([&](int i, cudaStream_t stream) {
    cudaMemcpyAsync(from + (i % 2 == 0 ? bytes : 0), from + (i % 2 == 0 ? 0 : bytes), bytes,
                    cudaMemcpyDeviceToDevice, stream);
  });
  release();
  copy_bandwidth_ = 2.0 * static_cast<double>(bytes) / us * 1e6;
  std::printf("%s, copy %.0f GB/s (read + write)\n", properties.name, copy_bandwidth_ / 1e9);
  std::printf("%-22s %-34s %10s %8s %6s\n", "op", "shape", "us", "GB/s", "copy");
}

GpuBench::~GpuBench() {
  release();
  cudaStreamDestroy(stream_);
}

bool GpuBench::wants(const std::string& op, const std::string& shape) const {
  return (op + " " + shape).find(filter_) != std::string::npos;
}

void* GpuBench::random_bytes(size_t bytes) {
  void* memory = nullptr;
  if (cudaMalloc(&memory, bytes) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    std::fprintf(stderr, "gpu_kernels_bench: no %zu MiB left: rows are missing\n", bytes >> 20);
    return nullptr;
  }
  memory_.push_back(memory);
  auto* to = static_cast<uint8_t*>(memory);
  const size_t first = std::min(bytes, noise_.size());
  require(cudaMemcpy(to, noise_.data(), first, cudaMemcpyHostToDevice), "filling memory");
  // Doubles what is there; an odd shift keeps copies of a matrix from being equal.
  for (size_t have = first; have < bytes; have *= 2) {
    require(cudaMemcpy(to + have, to, std::min(have, bytes - have), cudaMemcpyDeviceToDevice),
            "filling memory");
  }
  return memory;
}

cuda::ChainWorkspace GpuBench::chain_workspace(int64_t cols, int64_t ff) {
  const size_t bytes = cuda::chain_workspace_bytes(cols, ff);
  void* memory = random_bytes(bytes);
  if (memory != nullptr) require(cudaMemset(memory, 0, bytes), "clearing memory");
  return {memory, bytes};
}

void GpuBench::release() {
  for (void* memory : memory_) cudaFree(memory);
  memory_.clear();
}

int GpuBench::copies(size_t bytes) const {
  const size_t wanted = 4 * std::max(l2_bytes_, size_t{32} << 20);
  return static_cast<int>(std::clamp<size_t>(wanted / std::max<size_t>(bytes, 1) + 1, 2, 256));
}

double GpuBench::median_us(const std::function<void(int, cudaStream_t)>& enqueue) {
  const auto capture = [&](int n) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    require(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capturing");
    for (int i = 0; i < n; ++i) enqueue(i, stream_);
    require(cudaStreamEndCapture(stream_, &graph), "capturing");
    require(cudaGraphInstantiate(&exec, graph, 0), "making a graph");
    cudaGraphDestroy(graph);
    return exec;
  };
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  require(cudaEventCreate(&begin), "making an event");
  require(cudaEventCreate(&end), "making an event");
  const auto replay_us = [&](cudaGraphExec_t exec) {
    cudaEventRecord(begin, stream_);
    cudaGraphLaunch(exec, stream_);
    cudaEventRecord(end, stream_);
    require(cudaEventSynchronize(end), "running an operation");
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    return static_cast<double>(ms) * 1e3;
  };
  enqueue(0, stream_);  // outside a capture first: modules load here
  require(cudaGetLastError(), "launching an operation");
  require(cudaStreamSynchronize(stream_), "running an operation");
  // Enough operations for 3 ms a replay, or 0.4 ms that may fall between others' turns.
  cudaGraphExec_t exec = capture(16);
  replay_us(exec);
  const double guess = replay_us(exec) / 16;
  cudaGraphExecDestroy(exec);
  const int n = static_cast<int>(
      std::clamp((best_ ? 400.0 : 3000.0) / std::max(guess, 0.5), best_ ? 2.0 : 8.0, 1000.0));
  exec = capture(n);
  replay_us(exec);
  std::vector<double> times;
  for (int i = 0; i < (best_ ? 60 : 9); ++i) times.push_back(replay_us(exec) / n);
  cudaGraphExecDestroy(exec);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::sort(times.begin(), times.end());
  return best_ ? times.front() : times[times.size() / 2];
}

void GpuBench::time(const std::string& op, const std::string& shape, double bytes,
                    const std::function<void(int, cudaStream_t)>& enqueue, double flops) {
  rows_.push_back({op, shape, median_us(enqueue), bytes, flops});
  const Row& row = rows_.back();
  const double rate = row.bytes / row.us * 1e6;
  std::printf("%-22s %-34s %10.2f %8.0f %5.1f%%", op.c_str(), shape.c_str(), row.us, rate / 1e9,
              100 * rate / copy_bandwidth_);
  if (flops > 0) std::printf(" %6.1f TFLOP/s", flops / row.us * 1e-6);
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace fimd::bench

int main(int argc, char** argv) {
  std::string filter;
  std::string json_path;
  bool best = false;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (i + 1 < argc && option == "--filter") {
      filter = argv[++i];
    } else if (i + 1 < argc && option == "--json") {
      json_path = argv[++i];
    } else if (option == "--best") {
      best = true;
    } else {
      std::fprintf(stderr, "usage: gpu_kernels_bench [--filter TEXT] [--json FILE] [--best]\n");
      return 2;
    }
  }
  fimd::bench::GpuBench bench(filter, best);
  fimd::bench::matmul_rows(bench);
  fimd::bench::attention_rows(bench);
  fimd::bench::hybrid_rows(bench);
  fimd::bench::recurrent_rows(bench);
  if (json_path.empty()) return 0;
  nlohmann::json json;
  json["copy_bytes_per_s"] = bench.copy_bandwidth();
  for (const fimd::bench::Row& row : bench.rows()) {
    json["rows"].push_back(
        {{"op", row.op},
         {"shape", row.shape},
         {"us", row.us},
         {"bytes", row.bytes},
         {"flops", row.flops},
         {"fraction_of_copy", row.bytes / row.us * 1e6 / bench.copy_bandwidth()}});
  }
  std::ofstream file(json_path);
  file << json.dump(1) << '\n';
  if (!file.flush()) {
    std::fprintf(stderr, "gpu_kernels_bench: cannot write %s\n", json_path.c_str());
    return 1;
  }
  return 0;
}
