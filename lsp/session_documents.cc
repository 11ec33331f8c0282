// Document synchronisation: didOpen, didChange, didSave, didClose, didFocus.
#include "lsp/session.h"
#include "support/log.h"

namespace fimd::lsp {

void Session::bind_documents() {
  binder_.notification<DidOpenParams>(
      "textDocument/didOpen", [this](DidOpenParams params) { did_open(std::move(params)); });
  binder_.notification<DidChangeParams>(
      "textDocument/didChange", [this](DidChangeParams params) { did_change(std::move(params)); });
  binder_.notification<DocumentParams>("textDocument/didClose",
                                       [this](const DocumentParams& p) { did_close(p); });
  binder_.notification<DocumentParams>("textDocument/didFocus",
                                       [this](const DocumentParams& p) { did_focus(p); });
  binder_.notification<DocumentParams>("textDocument/didSave", [](const DocumentParams&) {});
  binder_.notification<Nothing>("workspace/didChangeWatchedFiles", [](Nothing) {});
}

void Session::did_open(DidOpenParams params) {
  if (workspace_.find(params.uri)) {
    log::warn("session {}: a document was opened twice; the newer text counts", id_);
    completer_->document_closed(params.uri);
    commander_->document_closed(params.uri);
    (void)workspace_.close(params.uri);
  }
  lost_.erase(params.uri);
  const DocumentPtr document = workspace_.open(std::move(params.uri), std::move(params.language_id),
                                               params.version, std::move(params.text));
  completer_->document_changed(document, std::nullopt);
}

void Session::did_change(DidChangeParams params) {
  const DocumentPtr old = workspace_.find(params.uri);
  if (!old) {
    log::warn("session {}: a change of a document that is not open", id_);
    return;
  }
  const int64_t version = params.version.value_or(old->version() + 1);
  if (version < old->version()) {
    log::warn("session {}: a change to version {} after version {} is ignored", id_, version,
              old->version());
    return;
  }
  if (lost_.contains(params.uri)) {
    // Only a change that brings the whole text makes it known again.
    auto whole = params.changes.begin();
    while (whole != params.changes.end() && whole->range) ++whole;
    if (whole == params.changes.end()) return;
    params.changes.erase(params.changes.begin(), whole);
  }
  auto changed = workspace_.change(params.uri, params.changes, version, encoding_);
  if (!changed.ok()) {
    lost_.insert(params.uri);
    completer_->document_closed(params.uri);
    commander_->document_closed(params.uri);
    log::error("session {}: version {} does not apply: {}", id_, version, changed.error().message);
    rpc_.notify("window/logMessage",
                MessageParams{MessageType::kError,
                              "fimd: a change of " + params.uri + " does not fit the text (" +
                                  changed.error().message +
                                  "); no suggestions for it until it is opened again"});
    return;
  }
  lost_.erase(params.uri);
  completer_->document_changed(*changed, (*changed)->last_edit_offset());
}

void Session::did_close(const DocumentParams& params) {
  lost_.erase(params.uri);
  if (!workspace_.find(params.uri)) {
    log::warn("session {}: a document was closed that is not open", id_);
    return;
  }
  completer_->document_closed(params.uri);
  commander_->document_closed(params.uri);
  (void)workspace_.close(params.uri);
}

void Session::did_focus(const DocumentParams& params) {
  const DocumentPtr document = workspace_.find(params.uri);
  if (!document) return;  // also when no document has the focus
  workspace_.visit(params.uri, document->last_edit_offset().value_or(0));
}

}  // namespace fimd::lsp
