// `fimd tokenize`: how a model's tokenizer splits a text.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>

#include "engine/model_file.h"
#include "lsp/commands/commands.h"
#include "lsp/json_text.h"
#include "lsp/paths.h"

namespace fimd::lsp {
namespace {

struct Args {
  std::string file;
  std::string text;
  std::string model;
  bool ids = false;
  bool count = false;
};

Result<std::string> read_text(const Args& args) {
  if (!args.text.empty()) return args.text;
  std::ostringstream out;
  if (args.file.empty() || args.file == "-") {
    out << std::cin.rdbuf();
    return out.str();
  }
  std::ifstream in(args.file, std::ios::binary);
  if (!in) return Error{ErrorCode::kNotFound, "cannot read " + args.file};
  out << in.rdbuf();
  return out.str();
}

Result<std::unique_ptr<Tokenizer>> tokenizer_of(const Args& args, const CommandContext& context) {
  if (!args.model.empty()) return open_tokenizer(args.model);
  FIMD_ASSIGN_OR_RETURN(const std::string path, find_model(context.config(), context.executable));
  return open_tokenizer(path);
}

int run(const Args& args, const CommandContext& context) {
  const auto tokenizer = tokenizer_of(args, context);
  if (!tokenizer.ok()) return fail(tokenizer.error().message);
  const auto text = read_text(args);
  if (!text.ok()) return fail(text.error().message);
  std::vector<TokenId> ids;
  (*tokenizer)->encode(*text, &ids);
  if (args.count) {
    std::printf("%zu\n", ids.size());
    return 0;
  }
  for (const TokenId id : ids) {
    if (args.ids) {
      std::printf("%d\n", id);
    } else {
      std::printf("%8d  %s\n", id, quote_json((*tokenizer)->bytes(id)).c_str());
    }
  }
  return 0;
}

}  // namespace

CommandSpec tokenize_command() {
  auto args = std::make_shared<Args>();
  return {.name = "tokenize",
          .summary = "Show how the model's tokenizer splits a text",
          .examples =
              "  fimd tokenize src/app.py\n"
              "  fimd tokenize --text 'def add(a, b):'\n"
              "  fimd tokenize --count < src/app.py",
          .declare =
              [args](Options& options) {
                options.positional("FILE", &args->file, "The text; - or nothing: stdin", false);
                options.option("--text", &args->text, "The text itself");
                options.option("--model", &args->model, "A .gguf file or a tokenizer.json");
                options.flag("--ids", &args->ids, "Only the token ids");
                options.flag("--count", &args->count, "Only how many tokens");
              },
          .run = [args](CommandContext& context) { return run(*args, context); }};
}

}  // namespace fimd::lsp
