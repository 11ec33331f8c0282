#include "lsp/commands/bench_keystrokes.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "context/document.h"
#include "engine/load.h"
#include "lsp/commands/fixed_length.h"
#include "lsp/json_text.h"
#include "lsp/local_server.h"
#include "support/clock.h"

namespace fimd::lsp {
namespace {

std::string default_file() {
  std::string text = "import math\n\n\n";
  for (int i = 0; i < 40; ++i) {
    const std::string n = std::to_string(i);
    text += "class Shape" + n + ":\n    def __init__(self, width, height):\n" +
            "        self.width = width\n        self.height = height\n\n" +
            "    def area(self):\n        return self.width * self.height + " + n + "\n\n\n";
  }
  return text;
}

/// What the editor did before it asked.
enum Event { kKey, kNewLine, kJump, kSwitch, kEvents };
constexpr std::array<const char*, kEvents> kEventNames = {"key", "new line", "jump", "file switch"};

struct Times {
  std::vector<double> reply_ms, first_ms, computed;
};

struct Measured {
  double cold_ms = 0;
  std::array<Times, kEvents> asked;  // of the model
  std::vector<double> along_ms;      // answered from a suggestion made before
};

/// One document in an editor.
class Typist {
 public:
  Typist(Client* client, std::string uri) : client_(client), uri_(std::move(uri)) {}

  Status open(const std::string& text) {
    return client_->notify(
        "textDocument/didOpen",
        dump_json({{"textDocument",
                    {{"uri", uri_}, {"languageId", ""}, {"version", 0}, {"text", text}}}}));
  }

  void move_to(uint32_t line, uint32_t column) {
    line_ = line;
    column_ = column;
  }

  /// `text` without line breaks, or one line break.
  Status type(const std::string& text) {
    const Json here = {{"line", line_}, {"character", column_}};
    FIMD_RETURN_IF_ERROR(client_->notify(
        "textDocument/didChange",
        dump_json({{"textDocument", {{"uri", uri_}, {"version", ++version_}}},
                   {"contentChanges", Json::array({{{"range", {{"start", here}, {"end", here}}},
                                                    {"text", text}}})}})));
    if (text == "\n") {
      move_to(line_ + 1, 0);
    } else {
      column_ += static_cast<uint32_t>(text.size());
    }
    return {};
  }

  Status complete(Event event, Measured* measured) {
    const Stopwatch watch;
    FIMD_ASSIGN_OR_RETURN(
        const std::string answer,
        client_->call("textDocument/inlineCompletion",
                      dump_json({{"textDocument", {{"uri", uri_}}},
                                 {"position", {{"line", line_}, {"character", column_}}},
                                 {"context", {{"triggerKind", 2}}}}),
                      60000));
    const double ms = watch.elapsed_ms();
    FIMD_ASSIGN_OR_RETURN(const std::string report_text,
                          client_->wait_notification("fimd/report", 5000));
    FIMD_ASSIGN_OR_RETURN(const Json report, parse_json(report_text));
    // What a suggestion made before answers, the next request that asks the model pays for.
    event = std::max(event, unpaid_);
    unpaid_ = kKey;
    if (measured->cold_ms == 0) {
      measured->cold_ms = ms;
    } else if (string_member(report, "source") == "model") {
      Times& times = measured->asked[event];
      times.reply_ms.push_back(ms);
      times.computed.push_back(report.value("computedTokens", 0.0));
      const double first = report.value("firstTextMs", 0.0);
      if (first > 0) times.first_ms.push_back(first);
    } else {
      measured->along_ms.push_back(ms);
      unpaid_ = event;
    }
    return {};
  }

 private:
  Client* client_;
  std::string uri_;
  uint32_t line_ = 0;
  uint32_t column_ = 0;
  int version_ = 0;
  Event unpaid_ = kKey;
};

/// The lines to type are taken out of the text at three quarters of it, one after another.
Status type_lines(Typist& typist, const std::string& uri, const std::string& text, int lines,
                  Measured* measured) {
  const DocumentPtr document = Document::open(uri, "", 0, text);
  const size_t first = std::min(document->line_count() * 3 / 4, document->line_count() - 1);
  const size_t last = std::min(document->line_count(), first + static_cast<size_t>(lines));
  std::string without = document->text();
  const size_t begin = document->line_start(first);
  const size_t end = last < document->line_count() ? document->line_start(last) : without.size();
  without.replace(begin, end - begin, "\n");
  FIMD_RETURN_IF_ERROR(typist.open(without));
  typist.move_to(static_cast<uint32_t>(first), 0);
  for (size_t line = first; line < last; ++line) {
    const std::string wanted(document->line_text(line));
    for (size_t at = 0; at < wanted.size();) {
      // Editors insert the indentation at once; then character by character.
      const Event event = at == 0 ? kNewLine : kKey;
      size_t next = at == 0 ? wanted.find_first_not_of(" \t") : at + 1;
      if (next == std::string::npos || next == 0) next = 1;
      while (next < wanted.size() && (static_cast<unsigned char>(wanted[next]) & 0xC0) == 0x80) {
        ++next;
      }
      FIMD_RETURN_IF_ERROR(typist.type(wanted.substr(at, next - at)));
      at = next;
      FIMD_RETURN_IF_ERROR(typist.complete(event, measured));
    }
    FIMD_RETURN_IF_ERROR(typist.type("\n"));
  }
  return {};
}

/// Ends of lines with something on them, in an order without rhyme that is always the same.
std::vector<std::pair<uint32_t, uint32_t>> places(const std::string& text, int n, uint32_t seed) {
  const DocumentPtr document = Document::open("file:///places", "", 0, text);
  std::vector<std::pair<uint32_t, uint32_t>> all;
  for (size_t line = 0; line < document->line_count(); ++line) {
    const std::string_view content = document->line_text(line);
    if (content.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    all.emplace_back(static_cast<uint32_t>(line), static_cast<uint32_t>(content.size()));
  }
  std::mt19937 random(seed);
  std::vector<std::pair<uint32_t, uint32_t>> chosen;
  for (int i = 0; i < n && !all.empty(); ++i) chosen.push_back(all[random() % all.size()]);
  return chosen;
}

/// Goes somewhere, asks, and types a few keys there.
Status jump_about(Typist& typist, const std::string& text, int jumps, Measured* measured) {
  for (const auto& [line, column] : places(text, jumps, 1)) {
    typist.move_to(line, column);
    FIMD_RETURN_IF_ERROR(typist.complete(kJump, measured));
    for (const char* key : {" ", "#", " "}) FIMD_RETURN_IF_ERROR(typist.type(key));
    FIMD_RETURN_IF_ERROR(typist.complete(kKey, measured));
  }
  return {};
}

/// Goes to and fro between two files, and types two keys where the cursor was left.
Status switch_files(Typist& here, Typist& there, const std::string& text, int switches,
                    Measured* measured) {
  FIMD_RETURN_IF_ERROR(there.open(text));
  const auto place = places(text, 1, 2);
  if (place.empty()) return {};
  there.move_to(place[0].first, place[0].second);
  Measured first;  // cold: read for the first time
  FIMD_RETURN_IF_ERROR(there.complete(kSwitch, &first));
  for (int i = 0; i < switches; ++i) {
    Typist& typist = i % 2 == 0 ? here : there;
    for (const Event event : {kSwitch, kKey}) {
      FIMD_RETURN_IF_ERROR(typist.type("."));
      FIMD_RETURN_IF_ERROR(typist.complete(event, measured));
    }
  }
  return {};
}

/// Waits until the model is there.
Status wait_for_model(Client* client) {
  for (;;) {
    FIMD_ASSIGN_OR_RETURN(const std::string text, client->wait_notification("fimd/status", 120000));
    FIMD_ASSIGN_OR_RETURN(const Json status, parse_json(text));
    const std::string state = string_member(status, "state");
    if (state == "error") return Error{ErrorCode::kUnavailable, string_member(status, "message")};
    if (state != "idle") continue;
    std::printf("%s on %s\n", string_member(status, "model").c_str(),
                string_member(status, "backend").c_str());
    return {};
  }
}

void print(const Measured& measured) {
  std::printf(
      "cold first reply  %.0f ms; %zu requests answered while typing along, median %.1f ms\n",
      measured.cold_ms, measured.along_ms.size(), percentile(measured.along_ms, 0.5));
  std::printf("%-12s %6s   %-24s %-24s %-24s\n", "", "", "prompt tokens computed", "first text, ms",
              "reply, ms");
  std::printf("%-12s %6s   %-24s %-24s %-24s\n", "after a", "asked", "median / p95 / worst",
              "median / p95 / worst", "median / p95 / worst");
  const auto three = [](const std::vector<double>& values, const char* format) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), format, percentile(values, 0.5),
                  percentile(values, 0.95), percentile(values, 1));
    return std::string(text.data());
  };
  for (size_t event = 0; event < kEvents; ++event) {
    const Times& times = measured.asked[event];
    if (times.reply_ms.empty()) continue;
    std::printf("%-12s %6zu   %-24s %-24s %-24s\n", kEventNames[event], times.reply_ms.size(),
                three(times.computed, "%.0f / %.0f / %.0f").c_str(),
                three(times.first_ms, "%.1f / %.1f / %.1f").c_str(),
                three(times.reply_ms, "%.1f / %.1f / %.1f").c_str());
  }
}

}  // namespace

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

int run_keystrokes(const KeystrokeArgs& args, CommandContext& context) {
  std::string text = default_file();
  if (!args.file.empty()) {
    std::ifstream in(args.file, std::ios::binary);
    if (!in) return fail("cannot read " + args.file);
    std::ostringstream read;
    read << in.rdbuf();
    text = read.str();
  }
  ServerHooks hooks;
  if (args.new_tokens > 0) {
    hooks.load = [n = args.new_tokens](
                     const EngineOptions& options,
                     const LoadProgress& progress) -> Result<std::unique_ptr<Generator>> {
      FIMD_ASSIGN_OR_RETURN(auto generator, load_generator(options, progress));
      return with_fixed_length(std::move(generator), n);
    };
  }
  LocalServer server(std::move(context.loaded), std::move(hooks));
  auto client = server.connect();
  if (!client.ok()) return fail(client.error().message);
  Json settings = {{"editor", {{"reports", true}}}};
  if (args.plain) {
    settings["completion"] = {{"prefill_on_change", false}, {"speculate", false}};
  }
  const Json hello = {{"processId", nullptr},
                      {"rootUri", nullptr},
                      {"capabilities",
                       {{"general", {{"positionEncodings", Json::array({"utf-8"})}}},
                        {"experimental", {{"fimdStatus", true}}}}},
                      {"initializationOptions", std::move(settings)}};
  Measured measured;
  const auto run = [&]() -> Status {
    const std::string uri = args.file.empty() ? "file:///bench/shapes.py" : "file:///" + args.file;
    FIMD_ASSIGN_OR_RETURN(const std::string answer,
                          client->call("initialize", dump_json(hello), 5000));
    FIMD_RETURN_IF_ERROR(client->notify("initialized", "{}"));
    FIMD_RETURN_IF_ERROR(wait_for_model(&*client));
    Typist typist(&*client, uri);
    FIMD_RETURN_IF_ERROR(type_lines(typist, uri, text, args.lines, &measured));
    FIMD_RETURN_IF_ERROR(jump_about(typist, text, args.jumps, &measured));
    if (args.switches <= 0) return {};
    // The other file: the same lines from the middle on, and then those before.
    Typist other(&*client, uri.substr(0, uri.rfind('/')) + "/other" + uri.substr(uri.rfind('.')));
    const size_t middle = std::min(text.find('\n', text.size() / 2), text.size() - 1) + 1;
    return switch_files(typist, other, text.substr(middle) + text.substr(0, middle), args.switches,
                        &measured);
  };
  if (Status status = run(); !status.ok()) return fail(status.error().message);
  print(measured);
  return 0;
}

}  // namespace fimd::lsp
