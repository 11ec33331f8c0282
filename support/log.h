// Log lines, to stderr or a file, never to stdout (that is the protocol). They hold no text of the
// user's below trace level. Any thread.
//
// spdlog writes them, but stands behind this header: compiling what its own has takes longer than
// most files that log. Formatting is in fmt's library anyway.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "support/result.h"

namespace fimd::log {

/// Numbered as spdlog's, whose `critical` (5) is left out.
enum class Level : uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff = 6 };

/// Lines of `level` (one of trace, debug, info, warn, error, off) and above go to `file`, or, if
/// that is empty, to stderr. Errors: a level that is none, a file that cannot be opened.
Status set_up(const std::string& level, const std::string& file);

/// What is below it is not written; info at first.
Level level();
void set_level(Level level);

void write_line(Level level, std::string_view line);
/// Waits until all lines are where they go.
void flush();

template <class... Args>
void write(Level at, fmt::format_string<Args...> format, Args&&... args) {
  if (at >= level()) write_line(at, fmt::vformat(format, fmt::make_format_args(args...)));
}

/// write() of one level.
template <Level kLevel>
struct Line {
  template <class... Args>
  void operator()(fmt::format_string<Args...> format, Args&&... args) const {
    write(kLevel, format, std::forward<Args>(args)...);
  }
};
inline constexpr Line<Level::kTrace> trace;
inline constexpr Line<Level::kDebug> debug;
inline constexpr Line<Level::kInfo> info;
inline constexpr Line<Level::kWarn> warn;
inline constexpr Line<Level::kError> error;

}  // namespace fimd::log
