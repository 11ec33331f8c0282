// Completion requests of a session, and what users did with the suggestions.
#include <algorithm>
#include <cctype>
#include <utility>

#include "lsp/paths.h"
#include "lsp/session.h"
#include "support/log.h"

namespace fimd::lsp {
namespace {

constexpr const char* kAcceptedCommand = "fimd.accepted";
constexpr size_t kMaxLabel = 80;

bool is_word(unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c >= 0x80; }

// The byte length of the first `units` UTF-16 units of `text`.
size_t utf16_prefix_bytes(std::string_view text, int64_t units) {
  size_t at = 0;
  while (at < text.size() && units > 0) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    units -= length == 4 ? 2 : 1;
    at = std::min(at + length, text.size());
  }
  return at;
}

// At most `limit` bytes, cut between characters.
std::string shortened(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80) --limit;
  return std::string(text.substr(0, limit)) + "…";
}

}  // namespace

void Session::bind_completion() {
  binder_.request<InlineCompletionParams, InlineCompletionList>(
      "textDocument/inlineCompletion",
      [this](InlineCompletionParams params, Reply<InlineCompletionList> reply) {
        inline_completion(std::move(params), std::move(reply));
      });
  binder_.request<CompletionParams, CompletionList>(
      "textDocument/completion", [this](CompletionParams params, Reply<CompletionList> reply) {
        completion(std::move(params), std::move(reply));
      });
  binder_.notification<ShownItemParams>("textDocument/didShowCompletion",
                                        [this](const ShownItemParams& params) { shown(params); });
  binder_.notification<ShownItemParams>(
      "textDocument/didPartiallyAcceptCompletion", [this](const ShownItemParams& params) {
        accepted(params.id, utf16_prefix_bytes(params.insert_text, params.accepted_length));
      });
  binder_.request<PromptParams, PromptResult>(
      "fimd/prompt", [this](const PromptParams& params, Reply<PromptResult> reply) {
        fimd_prompt(params, std::move(reply));
      });
  binder_.request<FimdCompleteParams, FimdCompleteResult>(
      "fimd/complete", [this](FimdCompleteParams params, Reply<FimdCompleteResult> reply) {
        fimd_complete(std::move(params), std::move(reply));
      });
}

Result<CompletionRequest> Session::request_at(const std::string& uri,
                                              std::optional<int64_t> version, Position position) {
  CompletionRequest request;
  request.document = workspace_.find(uri);
  if (!request.document) {
    return Error{ErrorCode::kNotFound, "the document is not open: " + uri.substr(0, 500)};
  }
  if (lost_.contains(uri) || (version && *version != request.document->version())) {
    return Error{ErrorCode::kCancelled, "the document changed since"};
  }
  FIMD_ASSIGN_OR_RETURN(request.offset, request.document->offset_at(position, encoding_));
  return request;
}

InlineCompletionItem Session::inline_item(const Document& document,
                                          const Suggestion& suggestion) const {
  InlineCompletionItem item;
  item.insert_text = suggestion.text;
  item.filter_text = suggestion.filter_text;
  item.range = {document.position_at(suggestion.begin, encoding_),
                document.position_at(suggestion.end, encoding_)};
  item.command = {"Accepted", kAcceptedCommand, suggestion.id,
                  static_cast<int64_t>(suggestion.text.size())};
  return item;
}

void Session::hold_until_loaded(InlineCompletionParams params, Reply<InlineCompletionList> reply) {
  const std::string uri = params.uri;
  // Newest wins here too: the one replaced is answered with nothing.
  if (const auto it = held_.find(uri); it != held_.end()) {
    it->second->reply({});
    held_.erase(it);
  }
  auto held = std::make_shared<HeldRequest>(HeldRequest{std::move(params), std::move(reply)});
  held_[uri] = held;
  held->reply.on_cancel([weak = weak_from_this(), uri, request = std::weak_ptr(held)] {
    const auto self = weak.lock();
    const auto cancelled = request.lock();
    if (!self || !cancelled) return;
    cancelled->reply.error(RpcError{rpc::kRequestCancelled, "cancelled"});
    self->held_.erase(uri);
  });
}

void Session::release_held() {
  for (const auto& [uri, held] : std::exchange(held_, {})) {
    inline_completion(std::move(held->params), std::move(held->reply));
  }
}

void Session::inline_completion(InlineCompletionParams params, Reply<InlineCompletionList> reply) {
  if (host_->model().phase == ModelState::Phase::kLoading) {
    return hold_until_loaded(std::move(params), std::move(reply));
  }
  auto request = request_at(params.uri, params.version, params.position);
  if (!request.ok()) {
    if (request.error().code == ErrorCode::kCancelled) {
      reply.error(RpcError{rpc::kContentModified, request.error().message});
    } else {
      reply.error(request.error());
    }
    return;
  }
  if (!config_.flag("completion.enabled") && !params.invoked) return reply({});
  request->invoked = params.invoked;
  const DocumentPtr document = request->document;
  if (params.selected) {
    const auto begin = document->offset_at(params.selected->range.start, encoding_);
    const auto end = document->offset_at(params.selected->range.end, encoding_);
    if (!begin.ok()) return reply.error(begin.error());
    if (!end.ok()) return reply.error(end.error());
    request->selected = {*begin, std::max(*begin, *end), params.selected->text};
  }
  workspace_.visit(params.uri, request->offset);

  // Shared by the callbacks of one request.
  struct Pending {
    Reply<InlineCompletionList> reply;
    std::optional<RawJson> token;
    bool cancelled_by_client = false;
  };
  auto pending = std::make_shared<Pending>();
  pending->reply = std::move(reply);
  pending->token = params.partial_result_token;
  const std::weak_ptr<Session> weak = weak_from_this();

  PartialFn partial;
  if (pending->token) {
    partial = [weak, pending, document](const Suggestion& suggestion) {
      const auto self = weak.lock();
      if (!self || !pending->reply.pending()) return;
      self->rpc_.notify("$/progress",
                        PartialItems{*pending->token, {self->inline_item(*document, suggestion)}},
                        Delivery::kDroppable);
    };
  }

  ++active_requests_;
  const CompletionId id = completer_->complete(
      std::move(*request), std::move(partial),
      [weak, pending, document](const Result<CompletionResult>& result) {
        const auto self = weak.lock();
        if (!self) return;
        if (!result.ok()) {
          // A request that a newer one replaced, or that came before the model, is answered with
          // nothing: every client takes that silently.
          const ErrorCode code = result.error().code;
          if (pending->cancelled_by_client) {
            pending->reply.error(RpcError{rpc::kRequestCancelled, "cancelled"});
          } else if (code == ErrorCode::kCancelled || code == ErrorCode::kUnavailable) {
            pending->reply({});
          } else {
            pending->reply.error(result.error());
          }
        } else {
          InlineCompletionList list;
          for (const Suggestion& suggestion : result->suggestions) {
            list.items.push_back(self->inline_item(*document, suggestion));
          }
          if (pending->token) {
            // LSP: with partial results, everything goes there and the reply is empty.
            self->rpc_.notify("$/progress", PartialItems{*pending->token, std::move(list.items)});
            list = {.null_if_empty = false};
          }
          pending->reply(list);
        }
        self->finished(document, result);
      });
  pending->reply.on_cancel([weak, pending_weak = std::weak_ptr(pending), id] {
    const auto self = weak.lock();
    const auto p = pending_weak.lock();
    if (!self || !p) return;
    p->cancelled_by_client = true;
    self->completer_->cancel(id);
  });
  send_status();
}

void Session::finished(const DocumentPtr& document, const Result<CompletionResult>& result) {
  --active_requests_;
  CompletionReport report;
  if (result.ok()) {
    report = result->report;
  } else {
    report.source = "none";
    report.outcome = error_code_name(result.error().code);
  }
  const GenerationStats& stats = report.stats;
  log::debug(
      "session {}: {} v{}: {} {} cached {} prefilled {} decoded {}; gather {:.1f} queue {:.1f} "
      "prefill {:.1f} first {:.1f} total {:.1f} ms",
      id_, document->language_id(), document->version(), report.source, report.outcome,
      stats.cached_tokens, stats.prefilled_tokens, stats.decoded_tokens, report.gather_ms,
      stats.queue_ms, stats.prefill_ms, report.first_text_ms, report.total_ms);
  if (config_.flag("editor.reports")) {
    rpc_.notify("fimd/report", ReportParams{document->uri(), document->version(), report});
  }
  send_status();
}

CompletionItem Session::menu_item(const Document& document, size_t cursor,
                                  const Suggestion& suggestion, int rank) const {
  // Menus filter by the word before the cursor, so the range and the text begin with it.
  const std::string& text = document.text();
  size_t begin = std::min(suggestion.begin, cursor);
  const size_t line_start = document.line_start(document.line_of(cursor));
  while (begin > line_start && is_word(static_cast<unsigned char>(text[begin - 1]))) --begin;

  CompletionItem item;
  item.new_text = text.substr(begin, suggestion.begin - begin) + suggestion.text;
  std::string_view first_line = item.new_text;
  while (!first_line.empty() && std::isspace(static_cast<unsigned char>(first_line.front())) != 0) {
    first_line.remove_prefix(1);
  }
  const size_t line_end = first_line.find_first_of("\r\n");
  const bool more = line_end != first_line.npos;
  item.label = shortened(first_line.substr(0, line_end), kMaxLabel);
  if (more) item.label += " …";
  if (item.label.empty()) item.label = "…";
  item.detail = "fimd";
  if (more) item.documentation = "```" + document.language_id() + "\n" + item.new_text + "\n```";
  item.filter_text = item.new_text.substr(0, item.new_text.find_first_of("\r\n"));
  item.sort_text = " " + std::to_string(rank);  // before letters and digits
  item.range = {document.position_at(begin, encoding_),
                document.position_at(std::max(suggestion.end, cursor), encoding_)};
  item.preselect = rank == 0;
  item.command = {"Accepted", kAcceptedCommand, suggestion.id,
                  static_cast<int64_t>(suggestion.text.size())};
  return item;
}

void Session::completion(CompletionParams params, Reply<CompletionList> reply) {
  auto request = request_at(params.uri, std::nullopt, params.position);
  if (!request.ok()) {
    if (request.error().code == ErrorCode::kCancelled) {
      reply.error(RpcError{rpc::kContentModified, request.error().message});
    } else {
      reply.error(request.error());
    }
    return;
  }
  if (!config_.flag("completion.enabled")) return reply({});
  const DocumentPtr document = request->document;
  const size_t cursor = request->offset;
  workspace_.visit(params.uri, cursor);
  struct Pending {
    Reply<CompletionList> reply;
    bool cancelled_by_client = false;
  };
  auto pending = std::make_shared<Pending>();
  pending->reply = std::move(reply);
  const std::weak_ptr<Session> weak = weak_from_this();
  ++active_requests_;
  const CompletionId id = completer_->complete(
      std::move(*request), nullptr,
      [weak, pending, document, cursor](const Result<CompletionResult>& result) {
        const auto self = weak.lock();
        if (!self) return;
        CompletionList list;
        if (result.ok()) {
          int rank = 0;
          for (const Suggestion& suggestion : result->suggestions) {
            list.items.push_back(self->menu_item(*document, cursor, suggestion, rank++));
          }
        }
        if (pending->cancelled_by_client) {
          pending->reply.error(RpcError{rpc::kRequestCancelled, "cancelled"});
        } else if (!result.ok() && result.error().code != ErrorCode::kCancelled &&
                   result.error().code != ErrorCode::kUnavailable) {
          pending->reply.error(result.error());
        } else {
          pending->reply(list);
        }
        self->finished(document, result);
      });
  pending->reply.on_cancel([weak, pending_weak = std::weak_ptr(pending), id] {
    const auto self = weak.lock();
    const auto p = pending_weak.lock();
    if (!self || !p) return;
    p->cancelled_by_client = true;
    self->completer_->cancel(id);
  });
  send_status();
}

bool Session::first_time(std::string what) {
  constexpr size_t kRemembered = 64;
  if (std::find(seen_ids_.begin(), seen_ids_.end(), what) != seen_ids_.end()) return false;
  seen_ids_.push_back(std::move(what));
  if (seen_ids_.size() > kRemembered) seen_ids_.pop_front();
  return true;
}

void Session::shown(const ShownItemParams& params) {
  if (first_time("shown " + params.id)) ++host_->usage().shown;
  completer_->did_show(params.id);
}

void Session::accepted(const std::string& id, size_t bytes) {
  // Word by word is still one suggestion; each report tells of all that was accepted by then.
  if (first_time("accepted " + id)) {
    ++host_->usage().accepted;
    accepted_bytes_ = 0;
    accepted_id_ = id;
  }
  if (id == accepted_id_ && bytes > accepted_bytes_) {
    host_->usage().accepted_bytes += static_cast<int64_t>(bytes - accepted_bytes_);
    accepted_bytes_ = bytes;
  }
  completer_->did_accept(id, bytes);
}

void Session::fimd_prompt(const PromptParams& params, Reply<PromptResult> reply) {
  const auto request = request_at(params.uri, std::nullopt, params.position);
  if (!request.ok()) return reply.error(request.error());
  auto explanation = completer_->explain(*request);
  if (!explanation.ok()) return reply.error(explanation.error());
  reply({std::move(*explanation)});
}

void Session::fimd_complete(FimdCompleteParams params, Reply<FimdCompleteResult> reply) {
  if (host_->model().phase != ModelState::Phase::kLoading) {
    run_fimd_complete(params, std::move(reply));
    return;
  }
  auto held = std::make_shared<Reply<FimdCompleteResult>>(std::move(reply));
  waiting_for_model_.push_back(
      [this, params = std::move(params), held] { run_fimd_complete(params, std::move(*held)); });
}

void Session::run_fimd_complete(const FimdCompleteParams& params, Reply<FimdCompleteResult> reply) {
  const ModelState& model = host_->model();
  if (model.phase == ModelState::Phase::kFailed) {
    return reply.error(RpcError{rpc::kRequestFailed, model.message});
  }
  if (params.offset < 0 || static_cast<size_t>(params.offset) > params.text.size()) {
    return reply.error(RpcError{rpc::kInvalidParams, "the offset lies outside the text"});
  }
  CompletionOptions options = config_.completion_options();
  options.candidates = params.candidates;
  options.speculate = false;
  options.prefill_on_change = false;
  if (!file_completer_) file_completer_ = host_->make_completer(&file_workspace_, options);
  file_completer_->set_options(options);
  if (!params.folder.empty()) file_workspace_.set_folders({params.folder});
  CompletionRequest request;
  request.document =
      file_workspace_.open(uri_of_path(params.path), params.language_id, 0, params.text);
  request.offset = static_cast<size_t>(params.offset);
  request.invoked = params.candidates > 1;
  FimdCompleteResult result;
  if (params.explain) {
    auto explanation = file_completer_->explain(request);
    if (!explanation.ok()) return reply.error(explanation.error());
    result.explanation = std::move(*explanation);
  }
  auto held = std::make_shared<Reply<FimdCompleteResult>>(std::move(reply));
  file_completer_->complete(std::move(request), nullptr,
                            [held, result](Result<CompletionResult> done) mutable {
                              if (!done.ok()) return held->error(done.error());
                              result.suggestions = std::move(done->suggestions);
                              result.report = std::move(done->report);
                              (*held)(result);
                            });
}

}  // namespace fimd::lsp
