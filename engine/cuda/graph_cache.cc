#include "engine/cuda/graph_cache.h"

#include <algorithm>

#include "kernels/cuda/runtime.h"

namespace fimd {

PassGraph* GraphCache::find(const PassShape& shape) {
  const auto found = graphs_.find(shape);
  if (found == graphs_.end()) return nullptr;
  found->second.used = ++clock_;
  return &found->second.graph;
}

Status GraphCache::capture(const PassShape& shape, cudaStream_t stream,
                           const std::function<Status()>& enqueue) {
  FIMD_RETURN_IF_ERROR(cuda::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed),
                                   "beginning a graph"));
  const Status enqueued = enqueue();
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  if (!enqueued.ok() || ended != cudaSuccess) {
    if (graph != nullptr) cudaGraphDestroy(graph);
    static_cast<void>(cudaGetLastError());
    if (!enqueued.ok()) return enqueued;
    return cuda::check(ended, "ending a graph");
  }
  cudaGraphExec_t made = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&made, graph, 0);
  cudaGraphDestroy(graph);
  FIMD_RETURN_IF_ERROR(cuda::check(error, "making a graph"));
  if (graphs_.size() >= capacity_) {
    const auto oldest = std::min_element(
        graphs_.begin(), graphs_.end(),
        [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
    cudaGraphExecDestroy(oldest->second.graph.exec);
    graphs_.erase(oldest);
  }
  graphs_[shape] = {{.exec = made}, ++clock_};
  return cuda::check(cudaGraphUpload(made, stream), "sending a graph");
}

void GraphCache::clear() {
  for (auto& [shape, entry] : graphs_) cudaGraphExecDestroy(entry.graph.exec);
  graphs_.clear();
}

}  // namespace fimd
