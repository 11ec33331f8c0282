#include "support/log.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace fimd {
namespace {

/// The log in a file. Afterwards lines of info and above go to stderr, as at first.
class LogFile {
 public:
  explicit LogFile(const std::string& level)
      : path_(std::filesystem::temp_directory_path() /
              ("fimd-log-test-" + std::to_string(::getpid()))) {
    std::filesystem::remove(path_);
    const Status status = log::set_up(level, path_);
    CHECK(status.ok());
  }
  ~LogFile() {
    static_cast<void>(log::set_up("info", ""));
    std::filesystem::remove(path_);
  }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  std::string text() const {
    log::flush();
    std::ostringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }

 private:
  std::filesystem::path path_;
};

TEST_CASE("lines of the level and above are written, with what they are made of") {
  const LogFile file("info");
  CHECK(log::level() == log::Level::kInfo);
  log::debug("a {} that nobody sees", "line");
  log::info("{} of {} in {:.1f} ms", 2, std::string("three"), 4.56);
  log::error("{{}} is text");
  const std::string text = file.text();
  CHECK(text.find("nobody") == std::string::npos);
  CHECK(text.find(" I 2 of three in 4.6 ms\n") != std::string::npos);
  CHECK(text.find(" E {} is text\n") != std::string::npos);
}

TEST_CASE("a line is written as it is, whatever bytes the arguments have") {
  const LogFile file("trace");
  log::trace("{}", std::string("{} %n %s {0:>9}"));
  CHECK(file.text().find(" T {} %n %s {0:>9}\n") != std::string::npos);
}

TEST_CASE("the level can be changed, and off is off") {
  const LogFile file("warn");
  for (const auto level : {log::Level::kTrace, log::Level::kDebug, log::Level::kInfo,
                           log::Level::kWarn, log::Level::kError, log::Level::kOff}) {
    log::set_level(level);
    CHECK(log::level() == level);
  }
  log::error("{}", "unheard");
  CHECK(file.text().empty());
}

TEST_CASE("what cannot be set up says why") {
  const Status level = log::set_up("loud", "");
  REQUIRE_FALSE(level.ok());
  CHECK(level.error().code == ErrorCode::kInvalidArgument);
  CHECK(level.error().message.find("'loud'") != std::string::npos);
  const Status file = log::set_up("info", "/dev/null/log");
  REQUIRE_FALSE(file.ok());
  CHECK(file.error().code == ErrorCode::kIo);
  CHECK(file.error().message.find("/dev/null/log") != std::string::npos);
}

}  // namespace
}  // namespace fimd
