// A fork-join pool for kernels: run(f) calls f(i, n) on n threads, the caller being one of them.
//
// Owner: one per CPU backend. Thread: run() from one thread at a time. Workers spin briefly, then
// sleep, so an idle engine uses no CPU.
#pragma once

#include <functional>
#include <memory>

namespace fimd::cpu {

class ThreadPool {
 public:
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;
  void run(const std::function<void(int thread, int n_threads)>& task);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fimd::cpu
