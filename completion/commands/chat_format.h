// ChatFormat: how a family of models wants an instruction laid out.
//
// One table serves every family; a model's row is chosen from the control tokens in its vocabulary
// and from its chat template. Pure functions, any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/generator.h"

namespace fimd {

/// A row of the table, settled for one model. What stands around the texts may hold control tokens.
struct ChatFormat {
  std::string name;    // the family
  Prompt system_open;  // empty with system_close: the system text begins the user's turn
  Prompt system_close;
  Prompt user_open;
  Prompt user_close;
  Prompt answer_open;  // up to the first token of the answer, thinking switched off
  std::vector<std::string> stop_controls;  // those the model has
};

/// Absent if the model has no chat template, or one of no family in the table.
std::optional<ChatFormat> choose_chat_format(const ModelInfo& model);

/// Names of all families in the table, for messages.
std::vector<std::string_view> chat_families();

/// Lays out one turn. The texts stay text: what looks like a control token in them is none.
Prompt render_chat(const ChatFormat& format, std::string_view system, std::string_view user);

/// Why `model` cannot follow instructions, and what to do about it; for the user.
std::string cannot_chat(const ModelInfo& model, std::string_view command);

}  // namespace fimd
