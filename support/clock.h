// Time for measurements and for code whose tests must not sleep.
#pragma once

#include <chrono>
#include <functional>

namespace fimd {

using SteadyClock = std::chrono::steady_clock;

/// A source of "now", injected where tests steer time.
using NowFn = std::function<SteadyClock::time_point()>;

/// Milliseconds since construction or the last restart().
class Stopwatch {
 public:
  double elapsed_ms() const {
    return std::chrono::duration<double, std::milli>(SteadyClock::now() - start_).count();
  }
  /// Returns the elapsed time and starts again from zero.
  double restart() {
    const auto now = SteadyClock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - start_).count();
    start_ = now;
    return ms;
  }

 private:
  SteadyClock::time_point start_ = SteadyClock::now();
};

}  // namespace fimd
