// `fimd bench`: how fast this machine completes, with the model that editors use.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "context/document.h"
#include "engine/load.h"
#include "lsp/commands/commands.h"
#include "lsp/json_text.h"
#include "lsp/local_server.h"
#include "lsp/paths.h"
#include "support/clock.h"

namespace fimd::lsp {
namespace {

struct Args {
  std::string what;
  std::string file;
  std::string model;
  int tokens = 0;
  int repeat = 5;
  int lines = 8;
};

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

// ---- prefill and decode: the generator alone ----

class WaitingSink : public GenerationSink {
 public:
  Flow on_text(std::string_view, float) override { return Flow::kContinue; }
  void on_done(Result<GenerationStats> stats) override { done_.set_value(std::move(stats)); }
  Result<GenerationStats> wait() { return done_.get_future().get(); }

 private:
  std::promise<Result<GenerationStats>> done_;
};

Result<GenerationStats> generate(Generator& generator, const std::string& text, int max_tokens) {
  auto sink = std::make_shared<WaitingSink>();
  GenerationRequest request;
  request.prompt = {text_segment(text)};
  request.params.max_tokens = max_tokens;
  request.params.heal = false;
  request.sink = sink;
  generator.submit(std::move(request));
  return sink->wait();
}

// Code-like text of about `tokens` tokens that begins unlike any other seed's, so that no run
// finds another's cache.
std::string synthetic_text(const Generator& generator, int tokens, int seed) {
  std::string text = "# run " + std::to_string(seed) + "\n";
  std::string block;
  for (int i = 0; i < 8; ++i) {
    const std::string n = std::to_string(seed * 8 + i);
    block += "def compute_" + n + "(values, scale):\n    total = 0\n    for value in values:\n" +
             "        total += value * scale\n    return total\n\n";
  }
  const size_t per_block = std::max<size_t>(1, generator.count_tokens(block));
  const size_t wanted = static_cast<size_t>(tokens);
  for (size_t have = 0; have + per_block <= wanted; have += per_block) text += block;
  while (generator.count_tokens(text) + 4 <= wanted) text += "x = 1\n";
  return text;
}

int run_engine(const Args& args, const CommandContext& context) {
  EngineOptions options = context.config().engine_options();
  auto path = args.model.empty() ? find_model(context.config(), context.executable)
                                 : Result<std::string>(args.model);
  if (!path.ok()) return fail(path.error().message);
  options.model_path = *path;
  auto loaded = load_generator(options, nullptr);
  if (!loaded.ok()) return fail(loaded.error().message);
  Generator& generator = **loaded;
  const ModelInfo& info = generator.info();
  std::printf("%s on %s\n", info.name.c_str(), info.backend.c_str());
  const bool prefill = args.what == "prefill";
  const int tokens =
      std::min(args.tokens > 0 ? args.tokens : (prefill ? 1500 : 128), info.context_length * 3 / 4);
  std::vector<double> speeds;
  for (int run = 0; run < args.repeat; ++run) {
    const std::string text = synthetic_text(generator, prefill ? tokens : 64, run + 1);
    const auto stats = generate(generator, text, prefill ? 1 : tokens);
    if (!stats.ok()) return fail(stats.error().message);
    const double ms = prefill ? stats->prefill_ms : stats->total_ms - stats->first_text_ms;
    const int done = prefill ? stats->prefilled_tokens : stats->decoded_tokens - 1;
    if (ms <= 0 || done <= 0) {
      std::printf("run %d: ended after %d tokens\n", run + 1, stats->decoded_tokens);
      continue;
    }
    speeds.push_back(1e3 * done / ms);
    std::printf("run %d: %d tokens in %.1f ms, %.0f tokens/s\n", run + 1, done, ms, speeds.back());
  }
  std::printf("median %.0f tokens/s\n", percentile(speeds, 0.5));
  return speeds.empty() ? 1 : 0;
}

// ---- keystrokes: a whole session, as an editor has it ----

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

struct KeystrokeTimes {
  double cold_ms = 0;
  std::vector<double> model_ms, first_ms, computed, cached_ms;
};

class Typist {
 public:
  Typist(Client* client, std::string uri) : client_(client), uri_(std::move(uri)) {}

  Status open(const std::string& text) {
    return client_->notify(
        "textDocument/didOpen",
        dump_json({{"textDocument",
                    {{"uri", uri_}, {"languageId", ""}, {"version", 0}, {"text", text}}}}));
  }

  Status type(uint32_t line, uint32_t column, const std::string& text) {
    const Json here = {{"line", line}, {"character", column}};
    return client_->notify(
        "textDocument/didChange",
        dump_json({{"textDocument", {{"uri", uri_}, {"version", ++version_}}},
                   {"contentChanges", Json::array({{{"range", {{"start", here}, {"end", here}}},
                                                    {"text", text}}})}}));
  }

  Status complete(uint32_t line, uint32_t column, KeystrokeTimes* times) {
    const Stopwatch watch;
    FIMD_ASSIGN_OR_RETURN(
        const std::string answer,
        client_->call("textDocument/inlineCompletion",
                      dump_json({{"textDocument", {{"uri", uri_}}},
                                 {"position", {{"line", line}, {"character", column}}},
                                 {"context", {{"triggerKind", 2}}}}),
                      60000));
    const double ms = watch.elapsed_ms();
    FIMD_ASSIGN_OR_RETURN(const std::string report_text,
                          client_->wait_notification("fimd/report", 5000));
    FIMD_ASSIGN_OR_RETURN(const Json report, parse_json(report_text));
    if (times->cold_ms == 0) {
      times->cold_ms = ms;
    } else if (string_member(report, "source") == "model") {
      times->model_ms.push_back(ms);
      times->first_ms.push_back(report.value("firstTextMs", 0.0));
      times->computed.push_back(report.value("computedTokens", 0.0));
    } else {
      times->cached_ms.push_back(ms);
    }
    return {};
  }

 private:
  Client* client_;
  std::string uri_;
  int version_ = 0;
};

Status type_lines(Client* client, const std::string& uri, const std::string& text, int lines,
                  KeystrokeTimes* times) {
  const DocumentPtr document = Document::open(uri, "", 0, text);
  // The lines to type are taken out of the text at three quarters of it, one after another.
  const size_t first = std::min(document->line_count() * 3 / 4, document->line_count() - 1);
  const size_t last = std::min(document->line_count(), first + static_cast<size_t>(lines));
  std::string without = document->text();
  const size_t begin = document->line_start(first);
  const size_t end = last < document->line_count() ? document->line_start(last) : without.size();
  without.replace(begin, end - begin, "\n");
  Typist typist(client, uri);
  FIMD_RETURN_IF_ERROR(typist.open(without));
  for (size_t line = first; line < last; ++line) {
    const std::string wanted(document->line_text(line));
    const auto row = static_cast<uint32_t>(line);
    for (size_t at = 0; at < wanted.size();) {
      // Editors insert the indentation at once; then character by character.
      size_t next = at == 0 ? wanted.find_first_not_of(" \t") : at + 1;
      if (next == std::string::npos || next == 0) next = 1;
      while (next < wanted.size() && (static_cast<unsigned char>(wanted[next]) & 0xC0) == 0x80) {
        ++next;
      }
      FIMD_RETURN_IF_ERROR(
          typist.type(row, static_cast<uint32_t>(at), wanted.substr(at, next - at)));
      at = next;
      FIMD_RETURN_IF_ERROR(typist.complete(row, static_cast<uint32_t>(at), times));
    }
    FIMD_RETURN_IF_ERROR(typist.type(row, static_cast<uint32_t>(wanted.size()), "\n"));
  }
  return {};
}

int run_keystrokes(const Args& args, CommandContext& context) {
  std::string text = default_file();
  if (!args.file.empty()) {
    std::ifstream in(args.file, std::ios::binary);
    if (!in) return fail("cannot read " + args.file);
    std::ostringstream read;
    read << in.rdbuf();
    text = read.str();
  }
  if (!args.model.empty()) {
    context.loaded.config.merge_environment({{"FIMD_MODEL", args.model}}, &context.loaded.problems);
  }
  LocalServer server(std::move(context.loaded));
  auto client = server.connect();
  if (!client.ok()) return fail(client.error().message);
  KeystrokeTimes times;
  const auto run = [&]() -> Status {
    const std::string uri = args.file.empty() ? "file:///bench/shapes.py" : "file:///" + args.file;
    FIMD_ASSIGN_OR_RETURN(
        const std::string hello,
        client->call("initialize",
                     R"({"processId":null,"rootUri":null,"capabilities":{"general":)"
                     R"({"positionEncodings":["utf-8"]},"experimental":{"fimdStatus":true}},)"
                     R"("initializationOptions":{"editor":{"reports":true}}})",
                     5000));
    FIMD_RETURN_IF_ERROR(client->notify("initialized", "{}"));
    for (;;) {  // until the model is there
      FIMD_ASSIGN_OR_RETURN(const std::string text_of,
                            client->wait_notification("fimd/status", 120000));
      FIMD_ASSIGN_OR_RETURN(const Json status, parse_json(text_of));
      const std::string state = string_member(status, "state");
      if (state == "error") {
        return Error{ErrorCode::kUnavailable, string_member(status, "message")};
      }
      if (state == "idle") {
        std::printf("%s on %s\n", string_member(status, "model").c_str(),
                    string_member(status, "backend").c_str());
        break;
      }
    }
    return type_lines(&*client, uri, text, args.lines, &times);
  };
  if (Status status = run(); !status.ok()) return fail(status.error().message);
  const auto row = [](const char* name, const std::vector<double>& values, const char* unit) {
    std::printf("%-28s median %7.1f   p95 %7.1f %s\n", name, percentile(values, 0.5),
                percentile(values, 0.95), unit);
  };
  std::printf("cold first reply             %.0f ms\n", times.cold_ms);
  std::printf(
      "%zu keystrokes asked the model, %zu were answered from a running or shown suggestion\n",
      times.model_ms.size(), times.cached_ms.size());
  row("reply, model asked", times.model_ms, "ms");
  row("first text, model asked", times.first_ms, "ms");
  row("prompt tokens computed", times.computed, "");
  row("reply, typed along", times.cached_ms, "ms");
  return 0;
}

}  // namespace

CommandSpec bench_command() {
  auto args = std::make_shared<Args>();
  return {.name = "bench",
          .summary = "Measure keystrokes, prefill or decode on this machine",
          .examples =
              "  fimd bench keystrokes                 types into a file, as an editor does\n"
              "  fimd bench keystrokes src/app.py --lines 20\n"
              "  fimd bench prefill --tokens 1500\n"
              "  fimd bench decode --tokens 256",
          .declare =
              [args](Options& options) {
                options.positional("WHAT", &args->what, "keystrokes, prefill or decode");
                options.positional("FILE", &args->file, "keystrokes: the file to type into", false);
                options.option("--lines", &args->lines, "keystrokes: how many lines to type");
                options.option("--tokens", &args->tokens,
                               "prefill, decode: tokens per run; 0: 1500 and 128");
                options.option("--repeat", &args->repeat, "prefill, decode: runs");
                options.option("--model", &args->model, "A .gguf file");
              },
          .run =
              [args](CommandContext& context) {
                if (args->what == "keystrokes") return run_keystrokes(*args, context);
                if (args->what == "prefill" || args->what == "decode") {
                  return run_engine(*args, context);
                }
                fail("bench knows keystrokes, prefill and decode, not '" + args->what + "'");
                return 2;
              }};
}

}  // namespace fimd::lsp
