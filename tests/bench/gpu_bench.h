// Timing of GPU operations for gpu_kernels_bench: a table of rows, each an operation at one shape.
//
// An operation is enqueued many times into a CUDA graph, on inputs that rotate through more memory
// than the L2 cache holds; the graph is replayed and the median time of one operation kept. So the
// figures are those of operations one after another, as in a forward pass, without launch gaps.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/ops.h"

namespace fimd::bench {

struct Row {
  std::string op;
  std::string shape;
  double us = 0;
  double bytes = 0;  // that one operation must move
  double flops = 0;  // that it must do; 0: it is bound by memory
};

class GpuBench {
 public:
  GpuBench(std::string filter, bool best);
  ~GpuBench();
  GpuBench(const GpuBench&) = delete;
  GpuBench& operator=(const GpuBench&) = delete;

  /// False if the filter leaves this row out: ask before preparing its data.
  bool wants(const std::string& op, const std::string& shape) const;
  /// Times enqueue(i, stream), i counting up, and prints the row. `flops` 0: bound by memory.
  void time(const std::string& op, const std::string& shape, double bytes,
            const std::function<void(int, cudaStream_t)>& enqueue, double flops = 0);

  /// Device memory of random bytes without NaNs as halves, bf16 or float32; freed at the end of the
  /// scope that release() closes. Null, with a note, if there is not enough memory.
  void* random_bytes(size_t bytes);
  /// Of matmul_chain(), the same way; its `data` null if there is not enough memory.
  cuda::ChainWorkspace chain_workspace(int64_t cols, int64_t ff);
  void release();
  /// How many copies of `bytes` exceed the L2 cache a few times over.
  int copies(size_t bytes) const;

  /// Bytes read and written per second by a large copy.
  double copy_bandwidth() const { return copy_bandwidth_; }
  const std::vector<Row>& rows() const { return rows_; }

 private:
  double median_us(const std::function<void(int, cudaStream_t)>& enqueue);

  std::string filter_;
  bool best_;
  double copy_bandwidth_ = 0;
  size_t l2_bytes_ = 0;
  cudaStream_t stream_ = nullptr;
  std::vector<uint8_t> noise_;
  std::vector<void*> memory_;
  std::vector<Row> rows_;
};

/// Each file of rows has one function; gpu_kernels_bench.cc calls them all.
void matmul_rows(GpuBench& bench);
void attention_rows(GpuBench& bench);
void hybrid_rows(GpuBench& bench);
void recurrent_rows(GpuBench& bench);

}  // namespace fimd::bench
