// `fimd complete FILE:LINE:COL`: one completion on the terminal.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "context/document.h"
#include "lsp/commands/commands.h"
#include "lsp/commands/source_file.h"
#include "lsp/daemon_start.h"
#include "lsp/json_text.h"
#include "lsp/local_server.h"
#include "lsp/paths.h"
#include "lsp/protocol_fimd.h"

namespace fimd::lsp {
namespace {

constexpr int kAnswerMs = 120000;  // a large model may have to be loaded first

struct Args {
  std::string place;
  std::string model;
  int candidates = 1;
  bool explain = false;
  bool json = false;
  bool in_process = false;
};

struct Place {
  std::string path;
  uint32_t line = 0;               // zero-based
  std::optional<uint32_t> column;  // zero-based, in characters; absent: the end of the line
};

// FILE:LINE:COL or FILE:LINE, both counted from 1. The file's own name may hold colons.
std::optional<Place> parse_place(const std::string& text) {
  const size_t last = text.rfind(':');
  if (last == std::string::npos || last == 0) return std::nullopt;
  const auto last_number = positive_number(std::string_view(text).substr(last + 1));
  if (!last_number) return std::nullopt;
  const size_t middle = text.rfind(':', last - 1);
  if (middle != std::string::npos && middle > 0) {
    if (const auto line =
            positive_number(std::string_view(text).substr(middle + 1, last - middle - 1))) {
      return Place{text.substr(0, middle), *line - 1, *last_number - 1};
    }
  }
  return Place{text.substr(0, last), *last_number - 1, std::nullopt};
}

Result<FimdCompleteParams> make_params(const Args& args) {
  const auto place = parse_place(args.place);
  if (!place) {
    return Error{ErrorCode::kInvalidArgument,
                 "'" + args.place + "' is not FILE:LINE:COL (both counted from 1)"};
  }
  FIMD_ASSIGN_OR_RETURN(const SourceFile file, read_source(place->path));
  const DocumentPtr& document = file.document;
  FimdCompleteParams params;
  params.path = file.path;
  params.folder = file.folder;
  params.explain = args.explain;
  params.candidates = args.candidates;
  params.text = document->text();  // valid UTF-8
  if (place->line >= document->line_count()) {
    return Error{ErrorCode::kInvalidArgument, file.path + " has " +
                                                  std::to_string(document->line_count()) +
                                                  " lines, not " + std::to_string(place->line + 1)};
  }
  const Position position{place->line, place->column.value_or(UINT32_MAX)};
  FIMD_ASSIGN_OR_RETURN(const size_t offset,
                        document->offset_at(position, PositionEncoding::kUtf32));
  params.offset = static_cast<int64_t>(offset);
  return params;
}

double number(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_number() ? it->get<double>() : 0;
}

void print_explanation(const Json& explanation) {
  std::printf("prompt in %s form, %s\n", string_member(explanation, "fimFormat").c_str(),
              explanation.value("multiLine", false) ? "several lines" : "one line");
  double total = 0;
  for (const Json& part : explanation["parts"]) {
    std::printf("  %6.0f tokens  %s\n", number(part, "tokens"),
                string_member(part, "name").c_str());
    total += number(part, "tokens");
  }
  std::printf("  %6.0f tokens  in all\n", total);
  std::printf("--- exact prompt ---\n%s\n--- end of prompt ---\n",
              string_member(explanation, "rendered").c_str());
}

void print_cost(const Json& report) {
  std::printf("source %s, outcome %s\n", string_member(report, "source").c_str(),
              string_member(report, "outcome").c_str());
  std::printf(
      "prompt %.0f tokens: %.0f cached, %.0f computed; %.0f generated, %.0f read to choose\n",
      number(report, "promptTokens"), number(report, "cachedTokens"),
      number(report, "computedTokens"), number(report, "decodedTokens"),
      number(report, "scoredTokens"));
  std::printf(
      "gather %.1f ms, queue %.1f, tokenize %.1f, prefill %.1f, first text %.1f, total %.1f\n",
      number(report, "gatherMs"), number(report, "queueMs"), number(report, "tokenizeMs"),
      number(report, "prefillMs"), number(report, "firstTextMs"), number(report, "totalMs"));
}

int print(const Args& args, const Json& result) {
  if (args.json) {
    std::printf("%s\n", dump_json(result, 2).c_str());
    return 0;
  }
  if (result.contains("explanation")) print_explanation(result["explanation"]);
  const Json& suggestions = result["suggestions"];
  int rank = 0;
  for (const Json& suggestion : suggestions) {
    if (args.explain || suggestions.size() > 1) std::printf("--- suggestion %d ---\n", ++rank);
    std::printf("%s\n", string_member(suggestion, "text").c_str());
  }
  if (suggestions.empty()) {
    std::fprintf(stderr, "fimd: nothing to suggest there (%s)\n",
                 string_member(result["report"], "outcome").c_str());
  }
  if (args.explain) {
    std::printf("--- cost ---\n");
    print_cost(result["report"]);
  }
  return 0;
}

int run(const Args& args, CommandContext& context) {
  const auto params = make_params(args);
  if (!params.ok()) {
    fail(params.error().message);
    return params.error().code == ErrorCode::kInvalidArgument ? 2 : 1;
  }
  std::unique_ptr<LocalServer> local;
  Result<Client> client = Error{ErrorCode::kUnavailable, ""};
  if (!args.in_process && args.model.empty()) {
    client = Client::connect(daemon_place(context.env, context.config()).socket);
  }
  if (!client.ok()) {
    if (!args.model.empty()) {
      Env chosen = {{"FIMD_MODEL", args.model}};
      context.loaded.config.merge_environment(chosen, &context.loaded.problems);
    }
    local = std::make_unique<LocalServer>(std::move(context.loaded));
    client = local->connect();
    if (!client.ok()) return fail(client.error().message);
  }
  const auto answer = client->call("fimd/complete", encode(*params), kAnswerMs);
  if (!answer.ok()) return fail(answer.error().message);
  const auto result = parse_json(*answer);
  if (!result.ok() || !result->is_object() || !result->contains("suggestions") ||
      !result->contains("report")) {
    return fail("the daemon's answer makes no sense; `fimd stop` ends a daemon of another version");
  }
  return print(args, *result);
}

}  // namespace

CommandSpec complete_command() {
  auto args = std::make_shared<Args>();
  return {.name = "complete",
          .summary = "Print what fimd would suggest at a place in a file",
          .examples =
              "  fimd complete src/app.py:42:9             line and column from 1\n"
              "  fimd complete src/app.py:42               at the end of the line\n"
              "  fimd complete --explain src/app.py:42:9   with prompt, tokens and times",
          .declare =
              [args](Options& options) {
                options.positional("FILE:LINE:COL", &args->place, "Where");
                options.flag("--explain", &args->explain,
                             "Show the snippets, the exact prompt, token counts and stage times");
                options.flag("--json", &args->json, "As JSON");
                options.option("--candidates", &args->candidates, "How many suggestions, 1 to 10");
                options.option("--model", &args->model, "A .gguf file (implies --in-process)");
                options.flag("--in-process", &args->in_process,
                             "Do not ask a running daemon, load the model here");
              },
          .run = [args](CommandContext& context) { return run(*args, context); }};
}

}  // namespace fimd::lsp
