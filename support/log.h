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

enum class Level : uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };

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
template <class... Args>
void trace(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kTrace, format, std::forward<Args>(args)...);
}
template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kDebug, format, std::forward<Args>(args)...);
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kInfo, format, std::forward<Args>(args)...);
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kWarn, format, std::forward<Args>(args)...);
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kError, format, std::forward<Args>(args)...);
}

}  // namespace fimd::log
