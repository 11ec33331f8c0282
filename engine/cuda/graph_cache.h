// Graphs of passes, one for each shape in use; the least recently used one goes first.
//
// Owner: a CUDA backend. Thread: one at a time.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <map>

#include "engine/cuda/pass_inputs.h"
#include "support/result.h"

namespace fimd {

struct PassGraph {
  cudaGraphExec_t exec = nullptr;
  double run_ms = 0;  // what it took last, if somebody measured it; 0: not known
};

class GraphCache {
 public:
  explicit GraphCache(size_t capacity) : capacity_(capacity) {}
  ~GraphCache() { clear(); }
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  /// Null: none yet. Good until the next capture().
  PassGraph* find(const PassShape& shape);
  /// Captures what `enqueue` launches on `stream` and keeps it. Nothing runs.
  Status capture(const PassShape& shape, cudaStream_t stream,
                 const std::function<Status()>& enqueue);
  void clear();
  size_t size() const { return graphs_.size(); }

 private:
  struct Entry {
    PassGraph graph;
    uint64_t used = 0;
  };

  const size_t capacity_;
  uint64_t clock_ = 0;
  std::map<PassShape, Entry> graphs_;
};

}  // namespace fimd
