// The pipeline with a real engine: what is reused must not change what is said.
#include <random>

#include "completion/brackets.h"
#include "engine/load.h"
#include "support/log.h"
#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::applied;

std::shared_ptr<Generator> load(const std::string& path) {
  log::set_level(log::Level::kOff);
  EngineOptions options;
  options.model_path = path;
  options.threads = 1;
  options.kv_cache_bytes = int64_t{64} << 20;
  auto generator = load_generator(options, nullptr);
  REQUIRE(generator.ok());
  return std::move(generator).value();
}

std::shared_ptr<Generator> tiny_model() { return load("tests/fixtures/qwen2-tiny.gguf"); }

/// An editor session with a real generator.
class Editor {
 public:
  Editor(std::shared_ptr<Generator> generator, CompletionOptions options)
      : completer_(make_completer([generator] { return generator; }, &workspace_, queue_.executor(),
                                  options)) {
    workspace_.set_folders({"/project"});
  }

  void show(const DocumentPtr& document, size_t cursor, bool tell) {
    document_ = workspace_.open("file:///project/a.py", "python", ++version_, document->text());
    cursor_ = cursor;
    if (tell) completer_->document_changed(document_, cursor_);
  }
  void type(const std::string& text) {
    const Position at = document_->position_at(cursor_, PositionEncoding::kUtf8);
    auto changed = workspace_.change("file:///project/a.py", {{Range{at, at}, text}}, ++version_,
                                     PositionEncoding::kUtf8);
    REQUIRE(changed.ok());
    document_ = *changed;
    cursor_ += text.size();
    completer_->document_changed(document_, cursor_);
  }
  void backspace() {
    const Position from = document_->position_at(cursor_ - 1, PositionEncoding::kUtf8);
    const Position to = document_->position_at(cursor_, PositionEncoding::kUtf8);
    auto changed = workspace_.change("file:///project/a.py", {{Range{from, to}, ""}}, ++version_,
                                     PositionEncoding::kUtf8);
    REQUIRE(changed.ok());
    document_ = *changed;
    --cursor_;
    completer_->document_changed(document_, cursor_);
  }

  CompletionResult ask(bool invoked = false) {
    std::optional<Result<CompletionResult>> reply;
    CompletionRequest request;
    request.document = document_;
    request.offset = cursor_;
    request.invoked = invoked;
    completer_->complete(std::move(request), nullptr, [&](Result<CompletionResult> result) {
      reply.emplace(std::move(result));
    });
    REQUIRE(queue_.run_until([&] { return reply.has_value(); }, std::chrono::seconds(60)));
    REQUIRE(reply->ok());
    return **reply;
  }

  const DocumentPtr& document() const { return document_; }
  size_t cursor() const { return cursor_; }

 private:
  TaskQueue queue_;
  Workspace workspace_;
  std::unique_ptr<Completer> completer_;
  DocumentPtr document_;
  size_t cursor_ = 0;
  int64_t version_ = 0;
};

CompletionOptions plain_options() {
  CompletionOptions options;
  options.typing_through = false;
  options.speculate = false;
  options.min_mean_logprob = -1e9;
  options.max_tokens_single_line = 12;
  options.max_tokens_multi_line = 16;
  options.timeout_ms = 60000;
  return options;
}

const std::string kFile =
    "def main(args):\n    for name in args:\n        print(name)\n    return 0\n\n\n"
    "def other(args):\n    <cursor>\n\n\ndef last():\n    return main([])\n";

TEST_CASE("typing with reuse of cached prompts says the same as starting cold") {
  const auto warm_model = tiny_model();
  std::mt19937 random(5);
  const std::string words[] = {"for ", "name",   " in ",    "args", ":\n        ", "print", "(",
                               ")",    "\n    ", "return ", "0",    "x",           " = "};
  Editor warm(warm_model, plain_options());
  const auto start = testing::marked(kFile);
  warm.show(start.document, start.cursor, true);
  size_t reused = 0;
  size_t said = 0;
  for (int step = 0; step < 25; ++step) {
    const std::string& word = words[random() % std::size(words)];
    for (char c : word) {
      warm.type(std::string(1, c));
      if (random() % 6 == 0) warm.backspace();
    }
    const CompletionResult kept = warm.ask();
    Editor cold(tiny_model(), plain_options());
    cold.show(warm.document(), warm.cursor(), false);
    const CompletionResult fresh = cold.ask();
    CAPTURE(warm.document()->text());
    REQUIRE(kept.suggestions.size() == fresh.suggestions.size());
    for (size_t i = 0; i < kept.suggestions.size(); ++i) {
      CHECK(kept.suggestions[i].text == fresh.suggestions[i].text);
      CHECK(kept.suggestions[i].end == fresh.suggestions[i].end);
    }
    CHECK(kept.report.outcome == fresh.report.outcome);
    CHECK(kept.report.stats.decoded_tokens == fresh.report.stats.decoded_tokens);
    CHECK(kept.report.stats.prompt_tokens == fresh.report.stats.prompt_tokens);
    CHECK(fresh.report.stats.cached_tokens == 0);
    reused += kept.report.stats.cached_tokens > 0 ? 1 : 0;
    said += kept.report.stats.decoded_tokens > 0 ? 1 : 0;
  }
  CHECK(reused >= 20);
  CHECK(said >= 20);
}

TEST_CASE("candidates of an invoked request are the same each time") {
  const auto model = tiny_model();
  CompletionOptions options = plain_options();
  Editor first(model, options);
  Editor second(model, options);
  const auto start = testing::marked(kFile);
  first.show(start.document, start.cursor, false);
  second.show(start.document, start.cursor, false);
  const CompletionResult a = first.ask(true);
  const CompletionResult b = second.ask(true);
  REQUIRE(a.suggestions.size() == b.suggestions.size());
  for (size_t i = 0; i < a.suggestions.size(); ++i) {
    CHECK(a.suggestions[i].text == b.suggestions[i].text);
  }
}

TEST_CASE("requests sent without waiting are each answered once") {
  const auto model = tiny_model();
  TaskQueue queue;
  Workspace workspace;
  workspace.set_folders({"/project"});
  auto completer =
      make_completer([&] { return model; }, &workspace, queue.executor(), CompletionOptions());
  auto [text, cursor] = testing::split_cursor(kFile);
  DocumentPtr document = workspace.open("file:///project/a.py", "python", 1, text);
  int sent = 0;
  int answered = 0;
  int ok = 0;
  for (char c : std::string("for name in args:\n        print(")) {
    const Position at = document->position_at(cursor, PositionEncoding::kUtf8);
    auto changed = workspace.change("file:///project/a.py", {{Range{at, at}, std::string(1, c)}},
                                    document->version() + 1, PositionEncoding::kUtf8);
    REQUIRE(changed.ok());
    document = *changed;
    ++cursor;
    completer->document_changed(document, cursor);
    ++sent;
    completer->complete({document, cursor}, nullptr, [&](Result<CompletionResult> result) {
      ++answered;
      ok += result.ok() ? 1 : 0;
    });
    queue.run_ready();
  }
  CHECK(queue.run_until([&] { return answered == sent; }, std::chrono::seconds(60)));
  CHECK(ok >= 1);  // the last one at least
  completer->complete({document, cursor}, nullptr, [&](Result<CompletionResult>) { ++answered; });
  completer.reset();
  queue.run_ready();
  CHECK(answered == sent + 1);
}

}  // namespace
}  // namespace fimd
