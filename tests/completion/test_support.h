// Helpers of the completion tests: documents with a <cursor>, and a generator that says what the
// test tells it to, when the test tells it to.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "completion/completer.h"
#include "completion/cursor_context.h"
#include "completion/io_gate.h"
#include "completion/task_queue.h"
#include "context/document.h"
#include "context/workspace.h"
#include "engine/generator.h"
#include "support/log.h"

namespace fimd::testing {

struct Marked {
  DocumentPtr document;
  size_t cursor = 0;
};

inline std::pair<std::string, size_t> split_cursor(std::string text) {
  const std::string marker = "<cursor>";
  const size_t at = text.find(marker);
  REQUIRE(at != std::string::npos);
  text.erase(at, marker.size());
  return {text, at};
}

inline Marked marked(const std::string& text, const std::string& language = "python",
                     const std::string& uri = "file:///project/src/a") {
  auto [plain, cursor] = split_cursor(text);
  return {Document::open(uri, language, 1, plain), cursor};
}

inline CursorContext context_of(const std::string& text, const std::string& language = "python") {
  const Marked at = marked(text, language);
  return cursor_context(*at.document, at.cursor);
}

/// Applies a suggestion to a document's text.
inline std::string applied(const Document& document, const Suggestion& suggestion) {
  std::string text = document.text();
  text.replace(suggestion.begin, suggestion.end - suggestion.begin, suggestion.text);
  return text;
}

/// Four bytes are a token. Nothing is said unless the test says it; everything happens on the
/// test's thread.
class ScriptedGenerator : public Generator {
 public:
  struct Call {
    GenerationRequest request;
    bool cancelled = false;
    bool done = false;
    bool stopped = false;  // the sink asked for no more
  };

  ScriptedGenerator() {
    info_.name = "scripted";
    info_.architecture = "qwen2";
    info_.backend = "cpu";
    info_.context_length = 2048;
    info_.control_tokens = {"<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
                            "<|fim_pad|>",   "<|repo_name|>",  "<|file_sep|>"};
  }

  const ModelInfo& info() const override { return info_; }
  ModelInfo& info() { return info_; }

  GenerationId submit(GenerationRequest request) override {
    if (!request.lane.empty()) {
      for (size_t i = 0; i < calls.size(); ++i) {
        if (!calls[i].done && calls[i].request.lane == request.lane) cancel(i + 1);
      }
    }
    calls.push_back({std::move(request)});
    return calls.size();
  }
  void cancel(GenerationId id) override {
    Call& call = calls.at(id - 1);
    if (call.done) return;
    call.cancelled = true;
    finish(id - 1, Error{ErrorCode::kCancelled, "cancelled"});
  }
  size_t count_tokens(std::string_view text) const override { return (text.size() + 3) / 4; }
  EngineStatus status() const override {
    EngineStatus status;
    status.prompt_ms_per_token = prompt_ms_per_token;
    for (const Call& call : calls) status.active_requests += call.done ? 0 : 1;
    return status;
  }

  /// Streams `text` to call `index` in pieces of `piece` bytes, as long as its sink wants more.
  void say(size_t index, std::string_view text, float logprob = -0.1F, size_t piece = 3) {
    for (size_t i = 0; i < text.size() && !calls.at(index).stopped && !calls.at(index).done;) {
      size_t length = std::min(piece, text.size() - i);
      while (i + length < text.size() &&
             (static_cast<unsigned char>(text[i + length]) & 0xC0U) == 0x80U) {
        ++length;
      }
      const auto flow = calls[index].request.sink->on_text(text.substr(i, length), logprob);
      calls[index].stopped = flow == GenerationSink::Flow::kStop;
      i += length;
    }
  }
  void end(size_t index, FinishReason reason = FinishReason::kEndOfText) {
    GenerationStats stats;
    stats.reason = calls.at(index).stopped ? FinishReason::kStoppedBySink : reason;
    finish(index, stats);
  }
  void fail(size_t index, Error error) { finish(index, std::move(error)); }

  /// Calls that generate text, not prefills.
  std::vector<size_t> generations() const {
    std::vector<size_t> found;
    for (size_t i = 0; i < calls.size(); ++i) {
      if (calls[i].request.params.max_tokens > 0) found.push_back(i);
    }
    return found;
  }
  size_t last() const { return generations().back(); }

  std::vector<Call> calls;
  double prompt_ms_per_token = 0;

 private:
  void finish(size_t index, Result<GenerationStats> result) {
    Call& call = calls.at(index);
    if (call.done) return;
    call.done = true;
    if (call.request.sink != nullptr) call.request.sink->on_done(std::move(result));
  }

  ModelInfo info_;
};

/// A completer with a scripted generator, a workspace and an editor in front of it.
class Session {
 public:
  explicit Session(CompletionOptions options = {})
      : generator(std::make_shared<ScriptedGenerator>()),
        source(generator),
        completer(
            make_completer_with_delay([this]() -> std::shared_ptr<Generator> { return source; },
                                      &workspace, queue.executor(), std::move(options),
                                      [this](int delay_ms, std::function<void()> task) {
                                        delayed.emplace_back(delay_ms, std::move(task));
                                      })) {
    workspace.set_folders({"/project"});
    log::set_level(log::Level::kOff);
  }

  /// Opens a document (or replaces its text) with the cursor where the marker is.
  void open(const std::string& text, const std::string& language = "python",
            const std::string& new_uri = "file:///project/src/a.py") {
    auto [plain, at] = split_cursor(text);
    uri = new_uri;
    cursor = at;
    document = workspace.open(uri, language, ++version, plain);
  }

  /// Types at the cursor, without asking for a completion.
  void type(const std::string& text, bool tell = true) { replace(0, 0, text, text.size(), tell); }
  /// Deletes `count` bytes before the cursor.
  void backspace(size_t count) { replace(count, 0, "", 0, true); }
  /// Replaces bytes around the cursor; the cursor ends `advance` bytes into the new text.
  void replace(size_t before, size_t after, const std::string& text, size_t advance,
               bool tell = true) {
    const TextChange change{Range{document->position_at(cursor - before, PositionEncoding::kUtf8),
                                  document->position_at(cursor + after, PositionEncoding::kUtf8)},
                            text};
    auto changed = workspace.change(uri, {change}, ++version, PositionEncoding::kUtf8);
    REQUIRE(changed.ok());
    document = *changed;
    cursor = cursor - before + advance;
    if (tell) completer->document_changed(document, cursor);
  }

  struct Reply {
    int calls = 0;
    std::optional<Result<CompletionResult>> result;
    std::vector<Suggestion> partials;

    bool answered() const { return calls > 0; }
    bool cancelled() const {
      return calls == 1 && !result->ok() && result->error().code == ErrorCode::kCancelled;
    }
    const CompletionResult& value() const {
      REQUIRE(calls == 1);
      REQUIRE(result->ok());
      return **result;
    }
    std::string text() const {
      return value().suggestions.empty() ? std::string() : value().suggestions.front().text;
    }
  };

  std::shared_ptr<Reply> ask(bool invoked = false,
                             std::optional<CompletionRequest::Selected> selected = {}) {
    auto reply = std::make_shared<Reply>();
    CompletionRequest request;
    request.document = document;
    request.offset = cursor;
    request.invoked = invoked;
    request.selected = std::move(selected);
    last_id = completer->complete(
        std::move(request),
        [reply](const Suggestion& partial) { reply->partials.push_back(partial); },
        [reply](Result<CompletionResult> result) {
          ++reply->calls;
          reply->result.emplace(std::move(result));
        });
    CHECK(reply->calls == 0);  // never from inside complete()
    queue.run_ready();
    return reply;
  }

  /// The newest generation says `text` and ends.
  void answer(const std::string& text, float logprob = -0.1F) {
    const size_t index = generator->last();
    generator->say(index, text, logprob);
    generator->end(index);
    queue.run_ready();
  }

  /// Lets all delayed tasks (or those of one delay) run.
  void pass_time(int delay_ms = -1) {
    auto due = std::move(delayed);
    delayed.clear();
    for (auto& [delay, task] : due) {
      if (delay_ms >= 0 && delay != delay_ms) {
        delayed.emplace_back(delay, std::move(task));
      } else {
        task();
      }
    }
    queue.run_ready();
  }

  TaskQueue queue;
  Workspace workspace;
  std::shared_ptr<ScriptedGenerator> generator;
  std::shared_ptr<Generator> source;
  std::vector<std::pair<int, std::function<void()>>> delayed;
  std::unique_ptr<Completer> completer;
  DocumentPtr document;
  std::string uri;
  size_t cursor = 0;
  int64_t version = 0;
  CompletionId last_id = 0;
};

}  // namespace fimd::testing
