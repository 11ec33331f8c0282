// IoGate: the way from other threads to the io thread that can be shut.
//
// A completer may be destroyed while a generator's thread is about to hand text over; after close()
// returns, nothing more reaches the executor.
#pragma once

#include <functional>
#include <mutex>
#include <utility>

#include "completion/completer.h"

namespace fimd {

class IoGate {
 public:
  explicit IoGate(Executor executor) : executor_(std::move(executor)) {}

  void post(std::function<void()> task) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (executor_) executor_(std::move(task));
  }
  void close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    executor_ = nullptr;
  }

 private:
  std::mutex mutex_;
  Executor executor_;
};

/// Runs a task after a delay, on any thread. Tests inject one that they steer.
using DelayFn = std::function<void(int delay_ms, std::function<void()> task)>;

/// make_completer() with the clock's part taken over by the caller.
std::unique_ptr<Completer> make_completer_with_delay(GeneratorSource generator,
                                                     Workspace* workspace, Executor executor,
                                                     CompletionOptions options, DelayFn delay);

}  // namespace fimd
