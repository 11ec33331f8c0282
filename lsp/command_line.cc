#include "lsp/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "lsp/paths.h"
#include "lsp/version.h"
#include "support/log.h"

namespace fimd::lsp {
namespace {

class CliOptions : public Options {
 public:
  explicit CliOptions(CLI::App* app) : app_(app) {}

  void flag(const char* name, bool* out, const char* help) override {
    app_->add_flag(name, *out, help);
  }
  void option(const char* name, std::string* out, const char* help) override {
    app_->add_option(name, *out, help);
  }
  void option(const char* name, int* out, const char* help) override {
    app_->add_option(name, *out, help)->capture_default_str();
  }
  void positional(const char* name, std::string* out, const char* help, bool required) override {
    app_->add_option(name, *out, help)->required(required);
  }
  void hidden_flag(const char* name, bool* out) override { app_->add_flag(name, *out)->group(""); }
  void hidden_option(const char* name, int* out) override {
    app_->add_option(name, *out)->group("");
  }

 private:
  CLI::App* app_;
};

}  // namespace

int fail(const std::string& message) {
  std::fprintf(stderr, "fimd: %s\n", message.c_str());
  return 1;
}

int run_command_line(int argc, char** argv) {
  CLI::App app{"fimd: code completion that stays on your machine", "fimd"};
  app.set_version_flag("--version", std::string("fimd ") + kVersion);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  std::string config_path;
  app.add_option("--config", config_path, "The configuration file to use");
  app.footer(
      "Configure an editor to run `fimd lsp`; `fimd doctor` shows whether all is well.\n"
      "`fimd COMMAND --help` explains a command.");

  std::vector<CommandSpec> commands = all_commands();
  CommandSpec* chosen = nullptr;
  for (CommandSpec& command : commands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    sub->footer(std::string("Examples:\n") + command.examples);
    sub->callback([&chosen, &command] { chosen = &command; });
    CliOptions options(sub);
    command.declare(options);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (chosen == nullptr) return 2;

  CommandContext context;
  if (!config_path.empty()) ::setenv("FIMD_CONFIG", config_path.c_str(), 1);
  context.env = process_environment();
  context.loaded = load_config(context.env);
  context.executable = executable_path();
  const std::string level = chosen->is_server ? context.config().string("log.level") : "warn";
  if (Status status = log::set_up(level, ""); !status.ok()) return fail(status.error().message);
  if (!chosen->is_server) {
    for (const ConfigProblem& problem : context.loaded.problems) {
      std::fprintf(stderr, "fimd: warning: %s\n", problem.text().c_str());
    }
  }
  return chosen->run(context);
}

}  // namespace fimd::lsp
