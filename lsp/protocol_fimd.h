// fimd's own messages: status and reports for editors, and what the command line asks the daemon.
//
// docs/protocol.md describes them. Thread: plain values.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "completion/completer.h"
#include "engine/generator.h"
#include "lsp/binder.h"
#include "support/result.h"

namespace fimd::lsp {

/// Raised when the socket's protocol changes so that older peers cannot follow.
inline constexpr int kSocketProtocol = 1;

/// fimd/status, to clients that want it.
struct StatusParams {
  std::string state;  // loading, idle, generating, error
  std::string message;
  std::optional<int> percent;  // while loading
  std::string model;
  std::string backend;
  double tokens_per_second = 0;
  double cache_hit_rate = 0;  // of prompt tokens, since the start
  bool can_chat = false;      // explain and the like work, not only document
};
std::string encode(const StatusParams& params);

/// didChangeStatus, as clients made for Copilot's server know it.
struct CopilotStatusParams {
  bool busy = false;
  std::string message;
  std::string kind = "Normal";  // Normal, Warning, Error, Inactive
};
std::string encode(const CopilotStatusParams& params);

/// fimd/hello: who is at the other end of the socket.
struct HelloResult {
  std::string version;
  std::string build;  // differs between any two builds
  int protocol = 0;
  int64_t pid = 0;
  int editors = 0;  // other sessions that an editor initialized
};
std::string encode(const HelloResult& result);
Status decode(const Json& json, HelloResult* out);

/// fimd/complete: one completion without opening a document, for the command line.
struct FimdCompleteParams {
  std::string path;
  std::string folder;  // of the project it belongs to
  std::string language_id;
  std::string text;
  int64_t offset = 0;  // bytes
  bool explain = false;
  int candidates = 1;
};
std::string encode(const FimdCompleteParams& params);
Status decode(const Json& json, FimdCompleteParams* out);

struct FimdCompleteResult {
  std::vector<Suggestion> suggestions;
  CompletionReport report;
  std::optional<PromptExplanation> explanation;
};
std::string encode(const FimdCompleteResult& result);

/// fimd/prompt: what the model is given at a place in an open document.
struct PromptParams {
  std::string uri;
  Position position;
};
Status decode(const Json& json, PromptParams* out);
struct PromptResult {
  PromptExplanation explanation;
};
std::string encode(const PromptResult& result);

/// fimd/report: what one textDocument/inlineCompletion cost (editor.reports).
struct ReportParams {
  std::string uri;
  int64_t version = 0;
  CompletionReport report;
};
std::string encode(const ReportParams& params);

/// The answer to the request fimd/status.
struct DaemonStatus {
  /// What became of suggestions since the start, all editors together. No text is kept.
  struct Usage {
    int64_t shown = 0;     // as far as editors say so
    int64_t accepted = 0;  // suggestions, as a whole or in part
    int64_t accepted_bytes = 0;
  };
  struct Editor {
    std::string client;  // "Neovim 0.12.4"
    int documents = 0;
  };
  std::string version;
  std::string build;
  int64_t pid = 0;
  double uptime_s = 0;
  std::string socket;
  std::string state;  // loading, ready, error
  std::string message;
  double progress = 0;
  std::optional<ModelInfo> model;
  EngineStatus engine;
  Usage usage;
  std::vector<Editor> editors;
};
std::string encode(const DaemonStatus& status);

}  // namespace fimd::lsp
