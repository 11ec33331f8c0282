// Session: one connection to the daemon, usually one editor.
//
// Keeps the lifecycle rules, the open documents and the settings of its editor, and turns LSP
// requests into calls of its Completer. What all sessions share (the model, the configuration file)
// comes from the SessionHost. Owner: the Server. Thread: the io thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "completion/commands/commander.h"
#include "completion/completer.h"
#include "context/workspace.h"
#include "lsp/config.h"
#include "lsp/protocol.h"
#include "lsp/protocol_fimd.h"
#include "lsp/rpc.h"

namespace fimd::lsp {

struct ModelState {
  enum class Phase { kLoading, kReady, kFailed };
  Phase phase = Phase::kLoading;
  double progress = 0;                   // while loading, in [0, 1]
  std::string message;                   // what is being loaded, or why it failed
  std::shared_ptr<Generator> generator;  // when ready
  uint64_t serial = 0;                   // of the load: a reload is a new one
};

/// What a session needs from the process around it.
class SessionHost {
 public:
  virtual ~SessionHost() = default;

  virtual const ModelState& model() const = 0;
  virtual const LoadedConfig& base_config() const = 0;
  virtual Executor executor() = 0;
  virtual std::unique_ptr<Completer> make_completer(Workspace* workspace,
                                                    CompletionOptions options) = 0;
  virtual std::unique_ptr<Commander> make_commander(Workspace* workspace,
                                                    CompletionOptions options) = 0;
  /// An editor chose another model or other engine settings: load them if they are new.
  virtual void use_engine(const EngineOptions& options) = 0;
  virtual DaemonStatus status() const = 0;
  virtual DaemonStatus::Usage& usage() = 0;
  virtual HelloResult hello(uint64_t asking_session) const = 0;
  virtual void request_stop() = 0;
  /// The session is over and may be destroyed (later, not now).
  virtual void session_ended(uint64_t session, int exit_code) = 0;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(SessionHost* host, uint64_t id, std::unique_ptr<Transport> transport);
  ~Session();

  void start();
  void close();  // after what is queued was sent

  uint64_t id() const { return id_; }
  /// An editor (or another client) initialized it: not a mere question of the command line.
  bool is_editor() const { return phase_ != Phase::kNew && phase_ != Phase::kExited; }
  DaemonStatus::Editor describe() const;

  /// The host's model() changed.
  void model_changed();

 private:
  enum class Phase { kNew, kInitializing, kRunning, kShutDown, kExited };

  // session.cc: lifecycle, settings, status
  void bind_lifecycle();
  std::optional<RpcError> admit(std::string_view method, bool is_request) const;
  void initialize(InitializeParams params, Reply<InitializeResult> reply);
  void initialized();
  void shutdown(Reply<Nothing> reply);
  void exit();
  void leave();
  void closed(const Status& status);
  void trace(bool outgoing, std::string_view body);
  bool announces_completion() const;
  bool sends_status() const;
  void set_folders();
  void change_folders(const FoldersChange& change);

  // session_status.cc: settings, status and progress
  void pull_configuration();
  void apply_settings(bool report_problems);
  void report_config_problems(const std::vector<ConfigProblem>& problems);
  void send_status();
  void update_progress();
  void show(MessageType type, const std::string& message);

  // session_documents.cc
  void bind_documents();
  void did_open(DidOpenParams params);
  void did_change(DidChangeParams params);
  void did_close(const DocumentParams& params);
  void did_focus(const DocumentParams& params);

  // session_completion.cc
  void bind_completion();
  void inline_completion(InlineCompletionParams params, Reply<InlineCompletionList> reply);
  void hold_until_loaded(InlineCompletionParams params, Reply<InlineCompletionList> reply);
  void release_held();
  void completion(CompletionParams params, Reply<CompletionList> reply);
  bool first_time(std::string what);
  void shown(const ShownItemParams& params);
  void accepted(const std::string& id, size_t bytes);
  void fimd_prompt(const PromptParams& params, Reply<PromptResult> reply);
  void fimd_complete(FimdCompleteParams params, Reply<FimdCompleteResult> reply);
  void run_fimd_complete(const FimdCompleteParams& params, Reply<FimdCompleteResult> reply);
  Result<CompletionRequest> request_at(const std::string& uri, std::optional<int64_t> version,
                                       Position position);
  InlineCompletionItem inline_item(const Document& document, const Suggestion& suggestion) const;
  CompletionItem menu_item(const Document& document, size_t cursor, const Suggestion& suggestion,
                           int rank) const;
  void finished(const DocumentPtr& document, const Result<CompletionResult>& result);

  // session_commands.cc
  static std::vector<std::string> command_names();
  bool offers_commands() const;
  void bind_commands();
  void execute_command(ExecuteCommandParams params, Reply<RawJson> reply);
  Result<CommandRequest> command_request(const CodeCommand& spec,
                                         const CommandParams& params) const;
  void run_command(const CodeCommand& spec, const CommandParams& params,
                   const std::optional<RawJson>& work_done_token,
                   const std::shared_ptr<Reply<RawJson>>& reply);
  CodeActionList code_actions(const CodeActionParams& params) const;

  SessionHost* host_;
  uint64_t id_;
  Binder binder_;
  RpcConnection rpc_;
  Phase phase_ = Phase::kNew;
  int exit_code_ = 1;

  InitializeParams client_;
  PositionEncoding encoding_ = PositionEncoding::kUtf16;
  std::vector<WorkspaceFolder> folders_;
  std::string trace_ = "off";
  Config config_;
  RawJson pulled_settings_;
  std::set<std::string> reported_problems_;

  Workspace workspace_;
  std::unique_ptr<Completer> completer_;
  std::unique_ptr<Commander> commander_;
  std::deque<std::string> seen_ids_;  // shown or accepted lately, with the kind before the id
  std::string accepted_id_;
  size_t accepted_bytes_ = 0;
  std::set<std::string> lost_;  // documents whose text we do not know any more
  std::map<std::string, std::function<void()>> cancel_work_;  // by work-done token of a command
  int active_requests_ = 0;
  struct HeldRequest {
    InlineCompletionParams params;
    Reply<InlineCompletionList> reply;
  };
  // Requests that came while the model was loading, the newest of each document.
  std::map<std::string, std::shared_ptr<HeldRequest>> held_;
  std::string last_status_;

  enum class Progress { kNone, kAsked, kShown };
  Progress progress_ = Progress::kNone;
  std::string progress_token_;
  int progress_percent_ = -1;
  uint64_t failure_shown_ = 0;  // serial of the failed load the user was told about, plus one

  std::vector<std::function<void()>> waiting_for_model_;
  // fimd/complete: a workspace of its own, apart from the editor's documents.
  Workspace file_workspace_;
  std::unique_ptr<Completer> file_completer_;
};

}  // namespace fimd::lsp
