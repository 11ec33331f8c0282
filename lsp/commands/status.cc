// `fimd status` and `fimd stop`: questions to the running daemon.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "lsp/client.h"
#include "lsp/commands/commands.h"
#include "lsp/daemon_start.h"
#include "lsp/json_text.h"

namespace fimd::lsp {
namespace {

constexpr int kAnswerMs = 5000;
constexpr int kEndMs = 10000;

double number(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_number() ? it->get<double>() : 0;
}

std::string duration(double seconds) {
  char text[64];
  if (seconds < 120) {
    std::snprintf(text, sizeof text, "%.0f s", seconds);
  } else if (seconds < 7200) {
    std::snprintf(text, sizeof text, "%.0f min", seconds / 60);
  } else {
    std::snprintf(text, sizeof text, "%.1f h", seconds / 3600);
  }
  return text;
}

void print(const Json& status) {
  std::printf("daemon    fimd %s, process %.0f, up %s\n", string_member(status, "version").c_str(),
              number(status, "pid"), duration(number(status, "uptimeS")).c_str());
  std::printf("socket    %s\n", string_member(status, "socket").c_str());
  const std::string state = string_member(status, "state");
  const std::string message = string_member(status, "message");
  if (state == "loading") {
    std::printf("model     loading, %.0f%%  %s\n", number(status, "progress") * 100,
                message.c_str());
  } else if (state == "error") {
    std::printf("model     none: %s\n", message.c_str());
  }
  if (const auto model = status.find("model"); model != status.end() && model->is_object()) {
    std::printf("model     %s (%s, %s, %.1f M parameters, %.1f MiB, context %.0f)\n",
                string_member(*model, "name").c_str(),
                string_member(*model, "architecture").c_str(),
                string_member(*model, "quantization").c_str(), number(*model, "parameters") / 1e6,
                number(*model, "weightBytes") / 1048576, number(*model, "contextLength"));
    std::printf("          %s\n", string_member(*model, "path").c_str());
    std::printf("backend   %s\n", string_member(*model, "backend").c_str());
    std::printf("commands  %s\n", model->value("canChat", false)
                                      ? "explain, review, refactor, fix, document"
                                      : "document (the model only fills in code)");
  }
  if (const auto engine = status.find("engine"); engine != status.end() && engine->is_object()) {
    const double prompt = number(*engine, "promptTokens");
    std::printf("cache     %.1f of %.0f MiB; %.0f%% of %.0f prompt tokens were reused\n",
                number(*engine, "kvBytesUsed") / 1048576,
                number(*engine, "kvBytesBudget") / 1048576,
                prompt > 0 ? 100 * number(*engine, "cachedTokens") / prompt : 0.0, prompt);
    if (number(*engine, "stateBytesBudget") > 0) {
      std::printf("states    %.1f of %.0f MiB of recurrent state to resume from\n",
                  number(*engine, "stateBytesUsed") / 1048576,
                  number(*engine, "stateBytesBudget") / 1048576);
    }
    std::printf("speed     %.0f tokens/s; %.0f tokens generated\n",
                number(*engine, "tokensPerSecond"), number(*engine, "decodedTokens"));
  }
  if (const auto used = status.find("suggestions"); used != status.end() && used->is_object()) {
    const double shown = number(*used, "shown");
    const double accepted = number(*used, "accepted");
    if (shown > 0) {
      std::printf("accepted  %.0f of %.0f suggestions shown (%.0f%%), %.0f bytes\n", accepted,
                  shown, 100 * std::min(1.0, accepted / shown), number(*used, "acceptedBytes"));
    } else if (accepted > 0) {
      std::printf("accepted  %.0f suggestions, %.0f bytes\n", accepted,
                  number(*used, "acceptedBytes"));
    }
  }
  const auto editors = status.find("editors");
  if (editors == status.end() || !editors->is_array() || editors->empty()) {
    std::printf("editors   none\n");
    return;
  }
  for (const Json& editor : *editors) {
    std::printf("editor    %s, %.0f open documents\n", string_member(editor, "client").c_str(),
                number(editor, "documents"));
  }
}

int run_status(const CommandContext& context, bool as_json) {
  auto client = Client::connect(daemon_place(context.env, context.config()).socket);
  if (!client.ok()) return fail(client.error().message);
  const auto answer = client->call("fimd/status", "null", kAnswerMs);
  if (!answer.ok()) return fail(answer.error().message);
  const auto status = parse_json(*answer);
  if (!status.ok() || !status->is_object()) return fail("the daemon's answer makes no sense");
  if (as_json) {
    std::printf("%s\n", status->dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    print(*status);
  }
  return 0;
}

int run_stop(const CommandContext& context) {
  auto client = Client::connect(daemon_place(context.env, context.config()).socket);
  if (!client.ok()) {
    if (client.error().code != ErrorCode::kUnavailable) return fail(client.error().message);
    std::printf("%s\n", client.error().message.c_str());
    return 0;  // it does not run: that is what was wanted
  }
  if (auto answer = client->call("fimd/stop", "null", kAnswerMs); !answer.ok()) {
    return fail(answer.error().message);
  }
  if (Status status = client->wait_closed(kEndMs); !status.ok()) {
    return fail("the daemon was told to stop but still runs");
  }
  std::printf("stopped\n");
  return 0;
}

}  // namespace

CommandSpec status_command() {
  auto as_json = std::make_shared<bool>(false);
  return {
      .name = "status",
      .summary = "Show the running daemon, its model and its editors",
      .examples = "  fimd status\n  fimd status --json",
      .declare = [as_json](Options& options) { options.flag("--json", as_json.get(), "As JSON"); },
      .run = [as_json](CommandContext& context) { return run_status(context, *as_json); }};
}

CommandSpec stop_command() {
  return {.name = "stop",
          .summary = "Stop the running daemon (connected editors start another one)",
          .examples = "  fimd stop",
          .declare = [](Options&) {},
          .run = [](CommandContext& context) { return run_stop(context); }};
}

}  // namespace fimd::lsp
