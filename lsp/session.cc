#include "lsp/session.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "lsp/paths.h"
#include "lsp/version.h"
#include "support/log.h"

namespace fimd::lsp {
namespace {

// Editors known to show or silently ignore notifications that they do not know. (lsp-mode warns.)
bool takes_unknown_notifications(const std::string& client) {
  for (const char* name : {"Neovim", "Visual Studio Code", "VSCodium", "Cursor", "code-server",
                           "code-oss", "Code - OSS", "Windsurf", "Helix", "helix"}) {
    if (client.starts_with(name)) return true;
  }
  return false;
}

// The client's own choice: what it lists first is what it can use without converting.
PositionEncoding choose_encoding(const std::vector<std::string>& offered) {
  for (const std::string& name : offered) {
    for (const auto encoding :
         {PositionEncoding::kUtf8, PositionEncoding::kUtf16, PositionEncoding::kUtf32}) {
      if (name == encoding_name(encoding)) return encoding;
    }
  }
  return PositionEncoding::kUtf16;
}

}  // namespace

Session::Session(SessionHost* host, uint64_t id, std::unique_ptr<Transport> transport)
    : host_(host),
      id_(id),
      rpc_(std::move(transport), &binder_,
           {.admit = [this](std::string_view method,
                            bool is_request) { return admit(method, is_request); },
            .closed = [this](const Status& status) { closed(status); },
            .trace = [this](bool outgoing, std::string_view body) { trace(outgoing, body); },
            .id_prefix = "fimd-" + std::to_string(::getpid()) + "-" + std::to_string(id)}),
      config_(host->base_config().config) {
  bind_lifecycle();
  bind_documents();
  bind_completion();
  bind_commands();
}

Session::~Session() = default;

void Session::start() { rpc_.start(); }
void Session::close() { rpc_.close_after_flush(); }

DaemonStatus::Editor Session::describe() const {
  std::string name = client_.client_name.empty() ? "an LSP client" : client_.client_name;
  if (!client_.client_version.empty()) name += " " + client_.client_version;
  name = name.substr(0, name.find('\n'));  // Emacs tells its build on a second line
  return {name, static_cast<int>(workspace_.documents().size())};
}

void Session::bind_lifecycle() {
  binder_.request<InitializeParams, InitializeResult>(
      "initialize", [this](InitializeParams params, Reply<InitializeResult> reply) {
        initialize(std::move(params), std::move(reply));
      });
  binder_.notification<Nothing>("initialized", [this](Nothing) { initialized(); });
  binder_.request<Nothing, Nothing>(
      "shutdown", [this](Nothing, Reply<Nothing> reply) { shutdown(std::move(reply)); });
  binder_.notification<Nothing>("exit", [this](Nothing) { exit(); });
  binder_.notification<SetTraceParams>("$/setTrace",
                                       [this](const SetTraceParams& p) { trace_ = p.value; });
  binder_.notification<SettingsParams>("workspace/didChangeConfiguration",
                                       [this](SettingsParams params) {
                                         if (client_.capabilities.configuration) {
                                           pull_configuration();
                                         } else {
                                           pulled_settings_ = std::move(params.settings);
                                           apply_settings(true);
                                         }
                                       });
  binder_.notification<FoldersChange>("workspace/didChangeWorkspaceFolders",
                                      [this](const FoldersChange& p) { change_folders(p); });
  binder_.request<Nothing, HelloResult>(
      "fimd/hello", [this](Nothing, Reply<HelloResult> reply) { reply(host_->hello(id_)); });
  binder_.request<Nothing, DaemonStatus>(
      "fimd/status", [this](Nothing, Reply<DaemonStatus> reply) { reply(host_->status()); });
  binder_.request<Nothing, Nothing>("fimd/stop", [this](Nothing, Reply<Nothing> reply) {
    reply({});
    host_->request_stop();
  });
}

std::optional<RpcError> Session::admit(std::string_view method, bool is_request) const {
  if (method == "exit") return std::nullopt;
  if (is_request && method.starts_with("fimd/")) return std::nullopt;  // the command line's
  switch (phase_) {
    case Phase::kNew:
      if (method == "initialize" && is_request) return std::nullopt;
      return RpcError{rpc::kServerNotInitialized, "'initialize' must come first"};
    case Phase::kInitializing:
    case Phase::kRunning:
      if (method == "initialize") return RpcError{rpc::kInvalidRequest, "already initialized"};
      return std::nullopt;
    case Phase::kShutDown:
    case Phase::kExited:
      return RpcError{rpc::kInvalidRequest, "shut down already: only 'exit' may follow"};
  }
  return std::nullopt;
}

void Session::initialize(InitializeParams params, Reply<InitializeResult> reply) {
  phase_ = Phase::kInitializing;
  client_ = std::move(params);
  encoding_ = choose_encoding(client_.capabilities.position_encodings);
  folders_ = client_.folders;
  trace_ = client_.trace;
  set_folders();
  apply_settings(false);
  completer_ = host_->make_completer(&workspace_, config_.completion_options());
  commander_ = host_->make_commander(&workspace_, config_.completion_options());
  log::info("session {}: {} connected, {}", id_, describe().client, encoding_name(encoding_));
  InitializeResult result;
  result.encoding = encoding_;
  result.completion = announces_completion();
  result.completion_triggers = {".", "(", "[", "{", ",", "=", ":", ">"};
  result.commands = command_names();
  if (offers_commands()) result.code_action_kinds = {"quickfix", "refactor.rewrite"};
  result.server_version = kVersion;
  reply(result);
}

bool Session::announces_completion() const {
  const std::string& choice = config_.string("editor.completion_menu");
  if (choice == "auto") return !client_.capabilities.inline_completion;
  return choice == "on";
}

bool Session::sends_status() const {
  const std::string& choice = config_.string("editor.status");
  if (choice != "auto") return choice == "on";
  return client_.capabilities.fimd_status || takes_unknown_notifications(client_.client_name);
}

void Session::initialized() {
  if (phase_ != Phase::kInitializing) return;
  phase_ = Phase::kRunning;
  report_config_problems(host_->base_config().problems);
  apply_settings(true);
  if (client_.capabilities.dynamic_did_change_configuration) {
    rpc_.call("client/registerCapability",
              Registration{"fimd-configuration", "workspace/didChangeConfiguration", "fimd"},
              nullptr);
  }
  if (client_.capabilities.configuration) pull_configuration();
  model_changed();
}

void Session::shutdown(Reply<Nothing> reply) {
  phase_ = Phase::kShutDown;
  for (const DocumentPtr& document : workspace_.documents()) {
    completer_->document_closed(document->uri());
    commander_->document_closed(document->uri());
  }
  reply({});
}

void Session::exit() {
  if (phase_ == Phase::kExited) return;
  leave();
  rpc_.close_after_flush();  // closed() follows
}

void Session::leave() {
  if (phase_ == Phase::kExited) return;
  if (phase_ != Phase::kNew) log::info("session {}: {} left", id_, describe().client);
  exit_code_ = phase_ == Phase::kShutDown ? 0 : 1;
  phase_ = Phase::kExited;
}

void Session::closed(const Status& status) {
  if (!status.ok()) log::warn("session {}: {}", id_, status.error().message);
  leave();
  host_->session_ended(id_, exit_code_);
}

void Session::trace(bool outgoing, std::string_view body) {
  log::trace("session {} {} {}", id_, outgoing ? "->" : "<-", body);
  if (phase_ != Phase::kRunning || (trace_ != "messages" && trace_ != "verbose")) return;
  if (outgoing && body.find(R"("method":"$/)") < 24) return;  // not the trace of a trace
  const std::string message = std::string(outgoing ? "sent " : "received ") +
                              std::to_string(body.size()) +
                              " bytes: " + std::string(body.substr(0, 80));
  rpc_.notify("$/logTrace",
              LogTraceParams{message, trace_ == "verbose" ? std::string(body) : std::string()},
              Delivery::kDroppable);
}

void Session::set_folders() {
  std::vector<std::string> paths;
  for (const WorkspaceFolder& folder : folders_) {
    std::string path = path_of_uri(folder.uri);
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    if (!path.empty()) paths.push_back(std::move(path));
  }
  workspace_.set_folders(std::move(paths));
}

void Session::change_folders(const FoldersChange& change) {
  for (const WorkspaceFolder& gone : change.removed) {
    std::erase_if(folders_, [&](const WorkspaceFolder& f) { return f.uri == gone.uri; });
  }
  for (const WorkspaceFolder& folder : change.added) {
    const bool known = std::any_of(folders_.begin(), folders_.end(),
                                   [&](const WorkspaceFolder& f) { return f.uri == folder.uri; });
    if (!known) folders_.push_back(folder);
  }
  set_folders();
}

}  // namespace fimd::lsp
