// Commands of a session (fimd.explain and its like) and the code actions that offer them.
#include <algorithm>
#include <utility>

#include "completion/commands/command_prompt.h"
#include "context/definitions.h"
#include "lsp/session.h"
#include "support/log.h"

namespace fimd::lsp {
namespace {

constexpr std::string_view kPrefix = "fimd.";

const char* severity_name(int64_t severity) {
  switch (severity) {
    case 1:
      return "error";
    case 2:
      return "warning";
    case 3:
      return "information";
    case 4:
      return "hint";
    default:
      return "";
  }
}

RpcError command_error(const Error& error) {
  switch (error.code) {
    case ErrorCode::kCancelled:
      return {rpc::kServerCancelled, error.message};
    case ErrorCode::kInvalidArgument:
      return {rpc::kInvalidParams, error.message};
    default:
      return {rpc::kRequestFailed, error.message};
  }
}

/// Whether a client that asks for `only` wants actions of `kind`.
bool wanted(const std::optional<std::vector<std::string>>& only, std::string_view kind) {
  if (!only) return true;
  return std::any_of(only->begin(), only->end(), [&](const std::string& asked) {
    return asked.empty() || kind == asked || kind.starts_with(asked + ".");
  });
}

}  // namespace

std::vector<std::string> Session::command_names() {
  std::vector<std::string> names = {"fimd.accepted"};
  for (const CodeCommand& spec : all_code_commands()) {
    names.push_back(std::string(kPrefix) + std::string(spec.name));
  }
  return names;
}

bool Session::offers_commands() const {
  const std::string& choice = config_.string("editor.code_actions");
  if (choice != "auto") return choice == "on";
  return client_.capabilities.fimd_commands;
}

void Session::bind_commands() {
  binder_.request<ExecuteCommandParams, RawJson>(
      "workspace/executeCommand", [this](ExecuteCommandParams params, Reply<RawJson> reply) {
        execute_command(std::move(params), std::move(reply));
      });
  binder_.notification<CancelProgressParams>("window/workDoneProgress/cancel",
                                             [this](const CancelProgressParams& params) {
                                               const auto it = cancel_work_.find(params.token.text);
                                               if (it == cancel_work_.end()) return;
                                               const auto cancel = it->second;
                                               cancel();
                                             });
  binder_.request<CodeActionParams, CodeActionList>(
      "textDocument/codeAction",
      [this](const CodeActionParams& params, Reply<CodeActionList> reply) {
        reply(code_actions(params));
      });
}

void Session::execute_command(ExecuteCommandParams params, Reply<RawJson> reply) {
  if (params.command == "fimd.accepted") {
    accepted(params.id, static_cast<size_t>(std::max<int64_t>(0, params.bytes)));
    return reply({});
  }
  const std::string_view name = params.command;
  const CodeCommand* spec =
      name.starts_with(kPrefix) ? find_code_command(name.substr(kPrefix.size())) : nullptr;
  if (spec == nullptr) {
    return reply.error(
        RpcError{rpc::kInvalidParams, "no command '" + params.command.substr(0, 200) + "'"});
  }
  if (!params.argument) {
    return reply.error(
        RpcError{rpc::kInvalidParams, "arguments[0] must say where: {textDocument, range}"});
  }
  if (!params.argument_status.ok()) {
    return reply.error(RpcError{rpc::kInvalidParams, params.argument_status.error().message});
  }
  auto held = std::make_shared<Reply<RawJson>>(std::move(reply));
  if (host_->model().phase != ModelState::Phase::kLoading) {
    return run_command(*spec, *params.argument, params.work_done_token, held);
  }
  held->on_cancel([weak = std::weak_ptr(held)] {
    if (const auto waiting = weak.lock()) {
      waiting->error(RpcError{rpc::kRequestCancelled, "cancelled"});
    }
  });
  waiting_for_model_.push_back([this, spec, params = std::move(params), held] {
    if (held->pending()) run_command(*spec, *params.argument, params.work_done_token, held);
  });
}

Result<CommandRequest> Session::command_request(const CodeCommand& spec,
                                                const CommandParams& params) const {
  CommandRequest request;
  request.command = spec.name;
  request.document = workspace_.find(params.uri);
  if (!request.document) {
    return Error{ErrorCode::kNotFound, "the document is not open: " + params.uri.substr(0, 500)};
  }
  const Document& document = *request.document;
  if (lost_.contains(params.uri) ||
      (params.version && *params.version != request.document->version())) {
    return Error{ErrorCode::kNotFound, "the document changed since"};
  }
  FIMD_ASSIGN_OR_RETURN(request.begin, document.offset_at(params.range.start, encoding_));
  FIMD_ASSIGN_OR_RETURN(request.end, document.offset_at(params.range.end, encoding_));
  if (request.begin > request.end) {
    return Error{ErrorCode::kInvalidArgument, "the range ends before it begins"};
  }
  request.instruction = params.instruction;
  for (const DiagnosticParams& diagnostic : params.diagnostics) {
    request.diagnostics.push_back({diagnostic.range.start.line, severity_name(diagnostic.severity),
                                   diagnostic.message, diagnostic.source});
  }
  return request;
}

void Session::run_command(const CodeCommand& spec, const CommandParams& params,
                          const std::optional<RawJson>& work_done_token,
                          const std::shared_ptr<Reply<RawJson>>& reply) {
  const ModelState& model = host_->model();
  if (model.phase == ModelState::Phase::kFailed) {
    return reply->error(RpcError{rpc::kRequestFailed, model.message});
  }
  auto request = command_request(spec, params);
  if (!request.ok()) {
    if (request.error().code == ErrorCode::kNotFound) {
      return reply->error(RpcError{rpc::kContentModified, request.error().message});
    }
    return reply->error(command_error(request.error()));
  }
  const DocumentPtr document = request->document;
  workspace_.visit(params.uri, request->begin);

  // Shared by the callbacks of one command.
  struct Pending {
    std::optional<RawJson> partial;
    std::optional<RawJson> work;
    bool cancelled_by_client = false;
    bool begun = false;
    bool answering = false;
  };
  auto pending = std::make_shared<Pending>();
  pending->partial = params.partial_result_token;
  pending->work = work_done_token;
  const std::weak_ptr<Session> weak = weak_from_this();

  CommandEvents events;
  events.started = [weak, pending, title = std::string(spec.title)](size_t prompt_tokens) {
    const auto self = weak.lock();
    if (!self) return;
    if (pending->work) {
      pending->begun = true;
      self->rpc_.notify("$/progress",
                        RequestProgress{*pending->work, "begin", title,
                                        "reading " + std::to_string(prompt_tokens) + " tokens"});
    }
    if (pending->partial) {
      self->rpc_.notify("$/progress", CommandProgress{*pending->partial, "start", ""});
    }
  };
  events.text = [weak, pending](std::string_view text) {
    const auto self = weak.lock();
    if (!self) return;
    if (pending->work && !std::exchange(pending->answering, true)) {
      self->rpc_.notify("$/progress", RequestProgress{*pending->work, "report", "", "answering"},
                        Delivery::kDroppable);
    }
    if (pending->partial) {
      self->rpc_.notify("$/progress", CommandProgress{*pending->partial, "text", std::string(text)},
                        Delivery::kDroppable);
    }
  };
  events.done = [weak, pending, reply, document](const Result<CommandResult>& result) {
    const auto self = weak.lock();
    if (!self) return;
    if (pending->work) self->cancel_work_.erase(pending->work->text);
    if (pending->begun) {
      self->rpc_.notify("$/progress", RequestProgress{*pending->work, "end", "", ""});
    }
    if (pending->cancelled_by_client) {
      reply->error(RpcError{rpc::kRequestCancelled, "cancelled"});
    } else if (!result.ok()) {
      reply->error(command_error(result.error()));
    } else {
      CommandAnswer answer;
      answer.is_edit = result->kind == CommandResult::Kind::kEdit;
      answer.text = result->text;
      answer.truncated = result->truncated;
      answer.title = result->title;
      answer.uri = document->uri();
      answer.version = document->version();
      answer.range = {document->position_at(result->begin, self->encoding_),
                      document->position_at(result->end, self->encoding_)};
      (*reply)(RawJson{encode(answer)});
    }
    self->active_requests_ = std::max(0, self->active_requests_ - 1);
    self->send_status();
  };
  ++active_requests_;
  const CommandId id = commander_->run(std::move(*request), std::move(events));
  const auto cancel = [weak, pending_weak = std::weak_ptr(pending), id] {
    const auto self = weak.lock();
    const auto cancelled = pending_weak.lock();
    if (!self || !cancelled) return;
    cancelled->cancelled_by_client = true;
    self->commander_->cancel(id);
  };
  if (!reply->pending()) return;  // done already
  reply->on_cancel(cancel);
  if (pending->work) cancel_work_[pending->work->text] = cancel;
  send_status();
}

CodeActionList Session::code_actions(const CodeActionParams& params) const {
  CodeActionList list;
  const ModelState& model = host_->model();
  if (!offers_commands() || model.phase != ModelState::Phase::kReady || !model.generator) {
    return list;
  }
  CommandParams where;
  where.uri = params.uri;
  where.range = params.range;
  for (const CodeCommand& spec : all_code_commands()) {
    const bool fixes = spec.kind == "quickfix";
    if (fixes ? params.diagnostics.empty() : params.automatic) continue;
    if (!wanted(params.only, spec.kind) || !command_available(spec, model.generator->info())) {
      continue;
    }
    const auto request = command_request(spec, where);
    if (!request.ok()) return list;
    const bool there = spec.answer == CodeCommand::Answer::kComment
                           ? doc_place(*request->document, request->begin, request->end).ok()
                           : command_lines(*request, nullptr).ok();
    if (!there) continue;
    CodeAction action;
    action.title = spec.title;
    action.kind = spec.kind;
    action.command = std::string(kPrefix) + std::string(spec.name);
    action.uri = params.uri;
    action.range = params.range;
    if (fixes) {
      for (const DiagnosticParams& diagnostic : params.diagnostics) {
        action.diagnostics.push_back(diagnostic.raw);
      }
    }
    list.actions.push_back(std::move(action));
  }
  return list;
}

}  // namespace fimd::lsp
