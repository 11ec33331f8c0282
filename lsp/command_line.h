// The command line: a table of commands, their options, and what they may use.
//
// Commands declare options through Options, so that only command_line.cc knows the parser library.
// Thread: main.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lsp/config.h"

namespace fimd::lsp {

class Options {
 public:
  virtual ~Options() = default;
  virtual void flag(const char* name, bool* out, const char* help) = 0;
  virtual void option(const char* name, std::string* out, const char* help) = 0;
  virtual void option(const char* name, int* out, const char* help) = 0;
  virtual void positional(const char* name, std::string* out, const char* help,
                          bool required = true) = 0;
  /// Not shown in --help: for fimd itself.
  virtual void hidden_flag(const char* name, bool* out) = 0;
  virtual void hidden_option(const char* name, int* out) = 0;
};

struct CommandContext {
  Env env;
  LoadedConfig loaded;
  std::string executable;
  const Config& config() const { return loaded.config; }
};

struct CommandSpec {
  const char* name;
  const char* summary;
  const char* examples;  // shown at the end of --help
  std::function<void(Options&)> declare;
  /// Returns the exit code: 0 success, 1 failure, 2 wrong usage.
  std::function<int(CommandContext&)> run;
  bool is_server = false;  // logs as configured; others only warnings
};

/// All commands, in the order of --help (commands/registry.cc).
std::vector<CommandSpec> all_commands();

int run_command_line(int argc, char** argv);

/// Prints "fimd: message" to stderr and returns the exit code of a failure.
int fail(const std::string& message);

}  // namespace fimd::lsp
