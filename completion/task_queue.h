// TaskQueue: an io thread for programs without an event loop (`fimd complete`, the bench, tests).
//
// Tasks may be added from any thread; the owner runs them on its own, in order.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

#include "completion/completer.h"

namespace fimd {

class TaskQueue {
 public:
  void add(std::function<void()> task) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
  }

  /// The queue must outlive whatever uses the executor.
  Executor executor() {
    return [this](std::function<void()> task) { add(std::move(task)); };
  }

  /// Runs tasks, also those added meanwhile, until none is left. Returns how many ran.
  size_t run_ready() {
    size_t ran = 0;
    while (auto task = take()) {
      task();
      ++ran;
    }
    return ran;
  }

  /// Runs tasks until `done()` holds; false if that took longer than `limit`.
  bool run_until(const std::function<bool()>& done, std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!done()) {
      if (auto task = take()) {
        task();
        continue;
      }
      std::unique_lock<std::mutex> lock(mutex_);
      if (!wake_.wait_until(lock, deadline, [this] { return !tasks_.empty(); })) return done();
    }
    return true;
  }

 private:
  std::function<void()> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (tasks_.empty()) return nullptr;
    auto task = std::move(tasks_.front());
    tasks_.pop_front();
    return task;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
};

}  // namespace fimd
