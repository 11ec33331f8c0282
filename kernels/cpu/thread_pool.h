// A fork-join pool for kernels: run(f) calls f(i, n) on the caller and on the workers that are at
// hand.
//
// A worker that has not arrived by the time the caller's own call returns is left out, so that
// neither a sleeping worker nor one whose core is taken by another program delays anything. Tasks
// therefore share their work out as they go (parallel.h).
//
// Owner: one per CPU backend. Thread: run() from one thread at a time. Workers spin briefly, then
// sleep, so an idle engine uses no CPU.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace fimd::cpu {

class ThreadPool {
 public:
  /// At least one thread; the caller of run() is thread 0.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;
  /// Calls task(0, size()) on the caller and task(i, size()), 0 < i < size(), on each worker that
  /// arrives before that returns; then waits for those. `task` must not throw or call run().
  void run(const std::function<void(int thread, int n_threads)>& task);

  /// Working memory of one thread, 64-byte aligned, at least `bytes`. It grows and is kept; its
  /// contents last until the same thread's next call. For use inside a task.
  std::byte* scratch(int thread, size_t bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fimd::cpu
