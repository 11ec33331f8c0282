// DelayThread: runs tasks after a delay on a thread of its own, started with the first task.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "support/clock.h"

namespace fimd {

class DelayThread {
 public:
  DelayThread() = default;
  DelayThread(const DelayThread&) = delete;
  DelayThread& operator=(const DelayThread&) = delete;
  /// Tasks not yet due are dropped; waits for one that is running.
  ~DelayThread();

  /// Any thread. Tasks must be short: they run one after the other.
  void after(int delay_ms, std::function<void()> task);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::multimap<SteadyClock::time_point, std::function<void()>> tasks_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace fimd
