#include "completion/delay_thread.h"

#include <utility>

namespace fimd {

DelayThread::~DelayThread() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void DelayThread::after(int delay_ms, std::function<void()> task) {
  const auto due = SteadyClock::now() + std::chrono::milliseconds(delay_ms);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stop_) return;
    tasks_.emplace(due, std::move(task));
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  }
  wake_.notify_all();
}

void DelayThread::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_) {
    if (tasks_.empty()) {
      wake_.wait(lock);
      continue;
    }
    const auto first = tasks_.begin();
    if (SteadyClock::now() < first->first) {
      wake_.wait_until(lock, first->first);
      continue;
    }
    auto task = std::move(first->second);
    tasks_.erase(first);
    lock.unlock();
    task();
    lock.lock();
  }
}

}  // namespace fimd
