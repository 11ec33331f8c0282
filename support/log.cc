#include "support/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace fimd::log {
namespace {

struct LevelName {
  const char* name;
  Level level;
  spdlog::level::level_enum of_spdlog;
};
/// In the order of Level.
constexpr LevelName kLevels[] = {
    {"trace", Level::kTrace, spdlog::level::trace}, {"debug", Level::kDebug, spdlog::level::debug},
    {"info", Level::kInfo, spdlog::level::info},    {"warn", Level::kWarn, spdlog::level::warn},
    {"error", Level::kError, spdlog::level::err},   {"off", Level::kOff, spdlog::level::off},
};

spdlog::level::level_enum of_spdlog(Level level) {
  return kLevels[static_cast<size_t>(level)].of_spdlog;
}

}  // namespace

Status set_up(const std::string& level, const std::string& file) {
  const LevelName* named = nullptr;
  for (const LevelName& row : kLevels) {
    if (level == row.name) named = &row;
  }
  if (named == nullptr) {
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
    logger->set_level(named->of_spdlog);
    logger->flush_on(spdlog::level::info);
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
    spdlog::set_default_logger(std::move(logger));
  } catch (const spdlog::spdlog_ex& e) {
    return Error{ErrorCode::kIo, "cannot open the log file '" + file + "': " + e.what()};
  }
  return {};
}

Level level() {
  const spdlog::level::level_enum now = spdlog::get_level();
  for (const LevelName& row : kLevels) {
    if (now <= row.of_spdlog) return row.level;
  }
  return Level::kOff;
}

void set_level(Level level) { spdlog::set_level(of_spdlog(level)); }

void write_line(Level level, std::string_view line) { spdlog::log(of_spdlog(level), line); }

void flush() { spdlog::default_logger()->flush(); }

}  // namespace fimd::log
