// A Session with a scripted Completer, spoken to through memory.
#pragma once

#include <doctest/doctest.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lsp/session.h"
#include "tests/lsp/memory_transport.h"

namespace fimd::lsp {
// Keeps requests until the test answers them.
class ScriptedCompleter : public Completer {
 public:
  struct Asked {
    CompletionId id;
    CompletionRequest request;
    PartialFn partial;
    DoneFn done;
  };
  std::deque<Asked> asked;
  std::vector<CompletionId> cancelled;
  std::vector<std::string> changed;  // "uri@offset"
  std::vector<std::string> closed;
  std::vector<std::string> shown;
  std::vector<std::pair<std::string, size_t>> accepted;
  CompletionOptions options;
  CompletionId next = 0;

  CompletionId complete(CompletionRequest request, PartialFn partial, DoneFn done) override {
    asked.push_back({++next, std::move(request), std::move(partial), std::move(done)});
    return next;
  }
  void cancel(CompletionId id) override { cancelled.push_back(id); }
  void document_changed(const DocumentPtr& document, std::optional<size_t> offset) override {
    changed.push_back(document->uri() + (offset ? "@" + std::to_string(*offset) : ""));
  }
  void document_closed(const std::string& uri) override { closed.push_back(uri); }
  void did_show(const std::string& id) override { shown.push_back(id); }
  void did_accept(const std::string& id, size_t bytes) override {
    accepted.emplace_back(id, bytes);
  }
  void set_options(CompletionOptions o) override { options = std::move(o); }
  Result<PromptExplanation> explain(const CompletionRequest& request) override {
    if (!request.document) return Error{ErrorCode::kUnsupported, "scripted"};
    PromptExplanation explanation;
    explanation.parts.push_back({"prefix", request.document->text().substr(0, request.offset), 1});
    explanation.rendered = "<scripted>";
    return explanation;
  }

  Asked take() {
    REQUIRE_FALSE(asked.empty());
    Asked first = std::move(asked.front());
    asked.pop_front();
    return first;
  }
};

class Host : public SessionHost {
 public:
  ModelState state;
  LoadedConfig config;
  ScriptedCompleter* completer = nullptr;  // of the last session
  DaemonStatus::Usage counted;
  int ended = -1;
  bool stop = false;
  std::vector<EngineOptions> engines;

  Host() { state.phase = ModelState::Phase::kFailed; }  // no generator is needed

  const ModelState& model() const override { return state; }
  const LoadedConfig& base_config() const override { return config; }
  Executor executor() override {
    return [](const std::function<void()>& task) { task(); };
  }
  std::unique_ptr<Completer> make_completer(Workspace*, CompletionOptions options) override {
    auto made = std::make_unique<ScriptedCompleter>();
    made->options = std::move(options);
    completer = made.get();
    return made;
  }
  std::unique_ptr<Commander> make_commander(Workspace* workspace,
                                            CompletionOptions options) override {
    return fimd::make_commander([this] { return state.generator; }, workspace, executor(),
                                std::move(options));
  }
  void use_engine(const EngineOptions& options) override { engines.push_back(options); }
  DaemonStatus status() const override { return {}; }
  DaemonStatus::Usage& usage() override { return counted; }
  HelloResult hello(uint64_t) const override { return {"0", "b", 1, 1, 0}; }
  void request_stop() override { stop = true; }
  void session_ended(uint64_t, int exit_code) override { ended = exit_code; }
};

struct Fixture {
  Host host;
  std::shared_ptr<MemoryPeer> peer = std::make_shared<MemoryPeer>();
  std::shared_ptr<Session> session =
      std::make_shared<Session>(&host, 1, std::make_unique<MemoryTransport>(peer));
  int next_id = 0;

  Fixture() { session->start(); }

  Json request(const std::string& method, const Json& params) {
    const int id = ++next_id;
    peer->receive({{"id", id}, {"method", method}, {"params", params}});
    return peer->take_answer(id);
  }
  void notify(const std::string& method, const Json& params) {
    peer->receive({{"method", method}, {"params", params}});
  }
  Json initialize(const std::string& encoding = "utf-16", Json options = nullptr,
                  Json extra = Json::object()) {
    extra["general"]["positionEncodings"] = {encoding};
    const Json answer = request(
        "initialize",
        {{"processId", nullptr}, {"capabilities", extra}, {"initializationOptions", options}});
    notify("initialized", Json::object());
    peer->sent.clear();
    return answer["result"]["capabilities"];
  }
  void open(const std::string& text, int version = 0) {
    notify("textDocument/didOpen", {{"textDocument",
                                     {{"uri", "file:///a.txt"},
                                      {"languageId", "plaintext"},
                                      {"version", version},
                                      {"text", text}}}});
  }
  void change(int version, int line, int from, int to, const std::string& text) {
    notify("textDocument/didChange",
           {{"textDocument", {{"uri", "file:///a.txt"}, {"version", version}}},
            {"contentChanges", Json::array({{{"range",
                                              {{"start", {{"line", line}, {"character", from}}},
                                               {"end", {{"line", line}, {"character", to}}}}},
                                             {"text", text}}})}});
  }
  Json ask_params(int line, int character, int kind = 2) {
    return {{"textDocument", {{"uri", "file:///a.txt"}}},
            {"position", {{"line", line}, {"character", character}}},
            {"context", {{"triggerKind", kind}}}};
  }
  int ask(int line, int character, int kind = 2) {
    const int id = ++next_id;
    peer->receive({{"id", id},
                   {"method", "textDocument/inlineCompletion"},
                   {"params", ask_params(line, character, kind)}});
    return id;
  }
};

inline Result<CompletionResult> one(const std::string& text, size_t begin, size_t end) {
  CompletionResult result;
  result.suggestions.push_back({"id1", begin, end, text, "filter " + text});
  return result;
}

}  // namespace fimd::lsp
