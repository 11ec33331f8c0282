#include "support/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace fimd::log {
namespace {

static_assert(static_cast<int>(Level::kTrace) == spdlog::level::trace &&
              static_cast<int>(Level::kDebug) == spdlog::level::debug &&
              static_cast<int>(Level::kInfo) == spdlog::level::info &&
              static_cast<int>(Level::kWarn) == spdlog::level::warn &&
              static_cast<int>(Level::kError) == spdlog::level::err &&
              static_cast<int>(Level::kOff) == spdlog::level::off);
spdlog::level::level_enum of_spdlog(Level level) {
  return static_cast<spdlog::level::level_enum>(level);
}

}  // namespace

Status set_up(const std::string& level, const std::string& file) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    return Error{ErrorCode::kInvalidArgument,
                 "log level '" + level + "' is none of trace, debug, info, warn, error, off"};
  }
  try {
    spdlog::sink_ptr sink;
    if (file.empty()) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file);
    }
    auto logger = std::make_shared<spdlog::logger>("fimd", std::move(sink));
    logger->set_level(parsed);
    logger->flush_on(spdlog::level::info);
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
    spdlog::set_default_logger(std::move(logger));
  } catch (const spdlog::spdlog_ex& e) {
    return Error{ErrorCode::kIo, "cannot open the log file '" + file + "': " + e.what()};
  }
  return {};
}

Level level() { return static_cast<Level>(spdlog::get_level()); }

void set_level(Level level) { spdlog::set_level(of_spdlog(level)); }

void write_line(Level level, std::string_view line) { spdlog::log(of_spdlog(level), line); }

void flush() { spdlog::default_logger()->flush(); }

}  // namespace fimd::log
