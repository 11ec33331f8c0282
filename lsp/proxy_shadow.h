// Shadow: what a daemon would have to be told to take over an editor's connection.
//
// The proxy keeps it beside the messages it passes on: the initialize parameters, the settings, the
// folders and the open documents. Changes are kept as they came and applied only now and then.
// Owner: the Proxy. Thread: the io thread.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "context/document.h"

namespace fimd::lsp {

class Shadow {
 public:
  Shadow();
  ~Shadow();

  /// A notification or request of the editor.
  void editor_said(const std::string& method, const nlohmann::json& params);
  /// The daemon's result for `initialize`.
  void initialized_with(const nlohmann::json& result);

  bool has_initialize() const;
  /// The messages that bring a new daemon to the same state, the first being `initialize` with
  /// the id `init_id` (JSON text). `fresh`: the editor has not had its answer yet, so its own
  /// parameters go out unchanged.
  std::vector<std::string> replay(const std::string& init_id, bool fresh);

  /// Of an open document; a request made for an older version need not be repeated.
  std::optional<int64_t> version(std::string_view uri) const;

 private:
  struct OpenDocument;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fimd::lsp
