// `fimd doctor`: what is there, what is missing, and what to do about it.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/load.h"
#include "engine/model_file.h"
#include "lsp/client.h"
#include "lsp/commands/commands.h"
#include "lsp/daemon_start.h"
#include "lsp/json_text.h"
#include "lsp/paths.h"
#include "lsp/protocol_fimd.h"
#include "lsp/version.h"
#include "support/clock.h"

namespace fimd::lsp {
namespace {

namespace fs = std::filesystem;

class Report {
 public:
  void good(const char* topic, const std::string& text) { line("ok  ", topic, text); }
  void note(const char* topic, const std::string& text) { line("--  ", topic, text); }
  void bad(const char* topic, const std::string& text, const std::string& advice) {
    line("BAD ", topic, text);
    std::printf("                  -> %s\n", advice.c_str());
    ++problems_;
  }
  void more(const std::string& text) { std::printf("                  %s\n", text.c_str()); }
  int problems() const { return problems_; }

 private:
  void line(const char* mark, const char* topic, const std::string& text) {
    std::printf("%s%-14s%s\n", mark, topic, text.c_str());
  }
  int problems_ = 0;
};

void check_config(const CommandContext& context, Report* report) {
  if (context.loaded.problems.empty()) {
    report->good(
        "configuration",
        context.loaded.file + (context.loaded.file_exists ? "" : " (does not exist: defaults)"));
    return;
  }
  for (const ConfigProblem& problem : context.loaded.problems) {
    report->bad("configuration", problem.text(), "`fimd config` lists all settings");
  }
}

void check_machine(Report* report) {
  report->good("cpu", describe_cpu());
  const GpuReport gpu = describe_gpu();
  for (const std::string& line : gpu.found) report->good("gpu", line);
  if (gpu.problem.empty()) return;
  report->note("gpu", gpu.problem + (gpu.usable ? "" : "; the CPU computes"));
  if (!gpu.advice.empty()) report->more("-> " + gpu.advice);
}

void check_model(const CommandContext& context, Report* report) {
  for (const ModelPlace& place : model_places(context.config(), context.executable)) {
    report->note("model search",
                 place.path + " (" + place.why + "): " + (place.exists ? "found" : "not there"));
  }
  const auto options = [&]() -> Result<EngineOptions> {
    EngineOptions out = context.config().engine_options();
    FIMD_ASSIGN_OR_RETURN(out.model_path, find_model(context.config(), context.executable));
    return out;
  }();
  if (!options.ok()) {
    report->bad("model", "none found", "set model.path or FIMD_MODEL to a .gguf file");
    return;
  }
  const Stopwatch watch;
  const auto generator = load_generator(*options, nullptr);
  if (!generator.ok()) {
    report->bad("model", generator.error().message, "use another file, or fetch this one again");
    return;
  }
  const ModelInfo& info = (*generator)->info();
  char text[256];
  std::snprintf(text, sizeof text, "%s: %s, %s, %.1f M parameters, context %d; loads in %.0f ms",
                info.name.c_str(), info.architecture.c_str(), info.quantization.c_str(),
                static_cast<double>(info.parameters) / 1e6, info.context_length,
                watch.elapsed_ms());
  report->good("model", text);
  report->good("backend", info.backend);
}

void show_plan(const CommandContext& context, int gigabytes, Report* report) {
  const auto path = find_model(context.config(), context.executable);
  if (!path.ok()) return report->bad("memory plan", path.error().message, "set model.path");
  const bool kv_coded = context.config().engine_options().kv_type == "q8";
  const auto lines = describe_memory(*path, int64_t{gigabytes} * 1000 * 1000 * 1000, kv_coded);
  if (!lines.ok()) return report->bad("memory plan", lines.error().message, "use another file");
  report->note("memory plan", lines->front());
  for (size_t i = 1; i < lines->size(); ++i) report->more((*lines)[i]);
}

void check_socket(const CommandContext& context, Report* report) {
  const DaemonPlace place = daemon_place(context.env, context.config());
  const auto env = context.env.find("XDG_RUNTIME_DIR");
  if (env == context.env.end() || env->second.empty()) {
    report->note("socket", "XDG_RUNTIME_DIR is not set; the cache directory is used instead");
  }
  auto client = Client::connect(place.socket);
  if (!client.ok()) {
    if (client.error().code == ErrorCode::kUnavailable) {
      report->note("daemon", "not running; `fimd lsp` starts it (" + place.socket + ")");
    } else {
      report->bad("daemon", client.error().message, "remove the file, or set daemon.socket");
    }
    return;
  }
  struct stat info = {};
  if (::stat(place.socket.c_str(), &info) == 0 && (info.st_mode & 0077) != 0) {
    report->bad("socket", place.socket + " is open to other users", "chmod 600 " + place.socket);
  }
  const auto answer = client->call("fimd/hello", "null", 5000);
  HelloResult hello;
  const auto json = answer.ok() ? parse_json(*answer) : Result<Json>(answer.error());
  if (!json.ok() || !decode(*json, &hello).ok()) {
    report->bad("daemon", "it does not answer on " + place.socket, "`fimd stop`, or kill it");
    return;
  }
  const std::string text =
      "process " + std::to_string(hello.pid) + ", fimd " + hello.version + ", on " + place.socket;
  if (hello.build == build_id()) {
    report->good("daemon", text);
  } else {
    report->bad("daemon", text + ", of another build than this program",
                "`fimd stop`; editors start the new one");
  }
}

void check_log(const CommandContext& context, Report* report) {
  const std::string path = log_path(context.env, context.config());
  std::error_code ignored;
  report->note("log", path + (fs::exists(path, ignored) ? "" : " (nothing written yet)"));
}

}  // namespace

CommandSpec doctor_command() {
  auto plan_gb = std::make_shared<int>(0);
  return {.name = "doctor",
          .summary = "Show what was found (CPU, GPU, model, socket, configuration) and what to do",
          .examples =
              "  fimd doctor          exit code 1 if something is wrong\n"
              "  fimd doctor --plan 22",
          .declare =
              [plan_gb](Options& options) {
                options.option("--plan", plan_gb.get(),
                               "Only show how so many GB of memory would be divided up");
              },
          .run =
              [plan_gb](CommandContext& context) {
                Report report;
                if (*plan_gb > 0) {
                  show_plan(context, *plan_gb, &report);
                  return report.problems() == 0 ? 0 : 1;
                }
                report.good("fimd", std::string(kVersion) + ", " + context.executable);
                check_config(context, &report);
                check_machine(&report);
                check_model(context, &report);
                check_socket(context, &report);
                check_log(context, &report);
                if (report.problems() == 0) {
                  std::printf("\nAll is well. Editors run `fimd lsp`.\n");
                  return 0;
                }
                std::printf("\n%d problem%s; see the lines marked ->.\n", report.problems(),
                            report.problems() == 1 ? "" : "s");
                return 1;
              }};
}

}  // namespace fimd::lsp
