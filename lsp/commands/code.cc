// `fimd explain`, `review`, `refactor`, `fix` and `document`: what editors ask the daemon about a
// piece of code, on the terminal.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "completion/commands/command.h"
#include "lsp/commands/commands.h"
#include "lsp/commands/source_file.h"
#include "lsp/daemon_start.h"
#include "lsp/json_text.h"
#include "lsp/local_server.h"
#include "lsp/paths.h"

namespace fimd::lsp {
namespace {

constexpr int kAnswerMs = 30 * 60 * 1000;  // a large model on a slow machine; Ctrl-C ends it sooner

struct Args {
  std::string place;
  std::string instruction;
  std::string model;
  bool json = false;
  bool write = false;
  bool in_process = false;
};

/// Without what a terminal might obey.
std::string printable(std::string text) {
  std::erase_if(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20U && c != '\n' && c != '\t') || byte == 0x7FU;
  });
  return text;
}

Json position(size_t line, size_t character) { return {{"line", line}, {"character", character}}; }

/// Lines as LSP's range; a single one means the code around it, as the cursor does in an editor.
Json range_of(const FileLines& lines, const Document& document) {
  const size_t count = document.line_count();
  const size_t last = lines.whole ? count - 1 : lines.last;
  if (!lines.whole && lines.first == lines.last) {
    const size_t end = document.line_text(last).size();
    return {{"start", position(last, end)}, {"end", position(last, end)}};
  }
  return {{"start", position(lines.first, 0)},
          {"end", position(last, document.line_text(last).size())}};
}

/// The document with the edit of `result` in it.
Result<std::string> edited(const Document& document, const Json& result) {
  const auto at = [&](const char* end) {
    const Json& p = result["range"][end];
    return document.offset_at({p["line"].get<uint32_t>(), p["character"].get<uint32_t>()},
                              PositionEncoding::kUtf8);
  };
  FIMD_ASSIGN_OR_RETURN(const size_t begin, at("start"));
  FIMD_ASSIGN_OR_RETURN(const size_t end, at("end"));
  if (begin > end) return Error{ErrorCode::kInternal, "the daemon's edit makes no sense"};
  std::string text = document.text();
  return text.replace(begin, end - begin, string_member(result, "newText"));
}

/// Replaces the file's text in one step, unless somebody else has changed it.
Status write_back(const SourceFile& file, const std::string& text) {
  namespace fs = std::filesystem;
  FIMD_ASSIGN_OR_RETURN(const SourceFile now, read_source(file.path));
  if (now.document->text() != file.document->text()) {
    return Error{ErrorCode::kUnavailable, file.path + " has changed in between"};
  }
  const std::string fresh = file.path + ".fimd-" + std::to_string(::getpid());
  std::error_code error;
  {
    std::ofstream out(fresh, std::ios::binary);
    out << text;
    out.flush();
    if (!out) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) fs::permissions(fresh, fs::status(file.path).permissions(), error);
  if (!error) fs::rename(fresh, fs::canonical(file.path), error);
  if (!error) return {};
  std::error_code ignored;
  fs::remove(fresh, ignored);
  return Error{ErrorCode::kIo, "cannot write " + file.path + ": " + error.message()};
}

Result<Client> connect(const Args& args, CommandContext& context,
                       std::unique_ptr<LocalServer>* local) {
  if (!args.in_process && args.model.empty()) {
    auto client = Client::connect(daemon_place(context.env, context.config()).socket);
    if (client.ok()) return client;
  }
  if (!args.model.empty()) {
    const Env chosen = {{"FIMD_MODEL", args.model}};
    context.loaded.config.merge_environment(chosen, &context.loaded.problems);
  }
  *local = std::make_unique<LocalServer>(std::move(context.loaded));
  return (*local)->connect();
}

Status open(Client& client, const SourceFile& file) {
  const Json folder = {{"uri", uri_of_path(file.folder)}, {"name", "project"}};
  const Json params = {{"processId", nullptr},
                       {"clientInfo", {{"name", "fimd"}}},
                       {"workspaceFolders", {folder}},
                       {"capabilities", {{"general", {{"positionEncodings", {"utf-8"}}}}}}};
  FIMD_RETURN_IF_ERROR([&]() -> Status {
    auto answer = client.call("initialize", dump_json(params), kAnswerMs);
    if (!answer.ok()) return answer.error();
    return {};
  }());
  FIMD_RETURN_IF_ERROR(client.notify("initialized", "{}"));
  const Json document = {{"uri", file.document->uri()},
                         {"languageId", ""},
                         {"version", 0},
                         {"text", file.document->text()}};
  return client.notify("textDocument/didOpen", dump_json({{"textDocument", document}}));
}

int print_result(const Args& args, const SourceFile& file, const Json& result, bool streamed) {
  if (args.json) {
    std::printf("%s\n", dump_json(result, 2).c_str());
    return 0;
  }
  if (string_member(result, "kind") != "edit") {
    std::printf("%s\n", streamed ? "" : printable(string_member(result, "text")).c_str());
    if (result.value("truncated", false))
      std::fprintf(stderr, "fimd: the answer is cut off here\n");
    return 0;
  }
  const auto text = edited(*file.document, result);
  if (!text.ok()) return fail(text.error().message);
  if (args.write) {
    if (Status status = write_back(file, *text); !status.ok()) return fail(status.error().message);
    std::fprintf(stderr, "%s: %s\n", file.path.c_str(), string_member(result, "title").c_str());
    return 0;
  }
  std::error_code ignored;
  const std::string name = std::filesystem::proximate(file.path, ignored).string();
  std::fputs(unified_diff(name, file.document->text(), *text).c_str(), stdout);
  return 0;
}

int run(const std::string& name, const Args& args, CommandContext& context) {
  const auto place = parse_file_lines(args.place);
  if (!place) {
    fail("'" + args.place + "' is not FILE, FILE:LINE or FILE:LINE-LINE (counted from 1)");
    return 2;
  }
  const auto file = read_source(place->path);
  if (!file.ok()) return fail(file.error().message);
  const Document& document = *file->document;
  if (!place->whole && place->last >= document.line_count()) {
    fail(file->path + " has " + std::to_string(document.line_count()) + " lines, not " +
         std::to_string(place->last + 1));
    return 2;
  }
  std::unique_ptr<LocalServer> local;
  auto client = connect(args, context, &local);
  if (!client.ok()) return fail(client.error().message);
  if (Status status = open(*client, *file); !status.ok()) return fail(status.error().message);

  // Words are printed as they come; an edit is only known when it is complete.
  bool streamed = false;
  client->listen([&](const std::string& method, const std::string& params) {
    if (method != "$/progress" || args.json) return;
    const auto progress = parse_json(params);
    if (!progress.ok() || string_member(*progress, "token") != "fimd-answer") return;
    const auto value = progress->find("value");
    if (value == progress->end() || string_member(*value, "kind") != "text") return;
    streamed = true;
    std::fputs(printable(string_member(*value, "text")).c_str(), stdout);
    std::fflush(stdout);
  });
  const CodeCommand* command = find_code_command(name);
  Json argument = {{"textDocument", {{"uri", document.uri()}}},
                   {"range", range_of(*place, document)}};
  if (!args.instruction.empty()) argument["instruction"] = args.instruction;
  if (command->answer == CodeCommand::Answer::kMarkdown) {
    argument["partialResultToken"] = "fimd-answer";
  }
  const auto answer =
      client->call("workspace/executeCommand",
                   dump_json({{"command", "fimd." + name}, {"arguments", {argument}}}), kAnswerMs);
  if (streamed && !answer.ok()) std::printf("\n");
  if (!answer.ok()) return fail(answer.error().message);
  const auto result = parse_json(*answer);
  if (!result.ok() || !result->is_object() || !result->contains("kind")) {
    return fail("the daemon's answer makes no sense; `fimd stop` ends a daemon of another version");
  }
  return print_result(args, *file, *result, streamed);
}

CommandSpec make_command(const char* name, const char* summary, const char* examples,
                         const char* instruction) {
  auto args = std::make_shared<Args>();
  const CodeCommand* command = find_code_command(name);
  const bool edits = command->answer != CodeCommand::Answer::kMarkdown;
  const bool required = command->needs_instruction;
  return {.name = name,
          .summary = summary,
          .examples = examples,
          .declare =
              [args, edits, required, instruction](Options& options) {
                options.positional("FILE:LINE", &args->place,
                                   "Where: FILE:LINE for the function around that line, "
                                   "FILE:LINE-LINE, or FILE");
                options.positional("INSTRUCTION", &args->instruction, instruction, required);
                if (edits) {
                  options.flag("--write", &args->write, "Change the file; else print a diff");
                }
                options.flag("--json", &args->json, "As JSON");
                options.option("--model", &args->model,
                               "Another model, .gguf (implies --in-process)");
                options.flag("--in-process", &args->in_process,
                             "Do not ask a running daemon, load the model here");
              },
          .run = [args, name](CommandContext& context) { return run(name, *args, context); }};
}

}  // namespace

CommandSpec explain_command() {
  return make_command("explain", "Explain a piece of code",
                      "  fimd explain src/app.py:42          the function around line 42\n"
                      "  fimd explain src/app.py:10-20 \"Why the loop?\"",
                      "A question about it");
}

CommandSpec review_command() {
  return make_command("review", "List problems of a piece of code",
                      "  fimd review src/app.py              all of it\n"
                      "  fimd review src/app.py:42 \"Is it thread-safe?\"",
                      "What to pay attention to");
}

CommandSpec refactor_command() {
  return make_command("refactor", "Change a piece of code as told",
                      "  fimd refactor src/app.py:42 \"return early\"            prints a diff\n"
                      "  fimd refactor --write src/app.py:10-20 \"use a dict\"   changes the file",
                      "What to do");
}

CommandSpec fix_command() {
  return make_command("fix", "Correct a piece of code",
                      "  fimd fix src/app.py:42 \"TypeError: 'int' object is not iterable\"\n"
                      "  fimd fix src/app.py:42 | patch -p0",
                      "What is wrong");
}

CommandSpec document_command() {
  return make_command("document", "Write the documentation of a function or class",
                      "  fimd document src/app.py:42           prints a diff\n"
                      "  fimd document --write src/app.py:42   changes the file",
                      "A wish");
}

}  // namespace fimd::lsp
