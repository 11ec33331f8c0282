#include "completion/commands/chat_format.h"

#include <algorithm>
#include <array>
#include <filesystem>

namespace fimd {
namespace {

using Names = std::array<std::string_view, 4>;  // an empty one ends the list

/// In the pieces, {{name}} is a control token.
struct Row {
  std::string_view name;
  Names needs;            // control tokens the model must have
  std::string_view hint;  // must occur in its chat template
  std::string_view system_open;
  std::string_view system_close;
  std::string_view user_open;
  std::string_view user_close;
  std::string_view answer_open;
  Names stops;  // besides the model's own end tokens
};

// Families that share tokens are told apart by the rows' order: the one that asks for more comes
// first. Sources: the chat templates in the families' tokenizer configurations.
constexpr Row kRows[] = {
    // Qwen2.5, Qwen3, Qwen3-Coder, Qwen3.5 and many others.
    {"chatml",
     {"<|im_start|>", "<|im_end|>"},
     "<|im_start|>",
     "{{<|im_start|>}}system\n",
     "{{<|im_end|>}}\n",
     "{{<|im_start|>}}user\n",
     "{{<|im_end|>}}\n",
     "{{<|im_start|>}}assistant\n",
     {"<|im_end|>", "<|im_start|>", "<|endoftext|>"}},
    {"llama-3",
     {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
     "<|start_header_id|>",
     "{{<|start_header_id|>}}system{{<|end_header_id|>}}\n\n",
     "{{<|eot_id|>}}",
     "{{<|start_header_id|>}}user{{<|end_header_id|>}}\n\n",
     "{{<|eot_id|>}}",
     "{{<|start_header_id|>}}assistant{{<|end_header_id|>}}\n\n",
     {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"}},
    // Mistral Small 3 and Devstral.
    {"mistral-v7",
     {"[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"},
     "[SYSTEM_PROMPT]",
     "{{[SYSTEM_PROMPT]}}",
     "{{[/SYSTEM_PROMPT]}}",
     "{{[INST]}}",
     "{{[/INST]}}",
     "",
     {"</s>", "[INST]"}},
    // Mistral 7B v0.3, Codestral, Nemo.
    {"mistral",
     {"[INST]", "[/INST]"},
     "[INST]",
     "",
     "",
     "{{[INST]}} ",
     "{{[/INST]}}",
     "",
     {"</s>", "[INST]"}},
    // Llama 2, CodeLlama-Instruct: the marks are text.
    {"llama-2", {}, "<<SYS>>", "[INST] <<SYS>>\n", "\n<</SYS>>\n\n", "", " [/INST]", "", {"</s>"}},
    {"mistral-v1", {}, "[INST]", "", "", "[INST] ", " [/INST]", "", {"</s>"}},
    {"gemma",
     {"<start_of_turn>", "<end_of_turn>"},
     "<start_of_turn>",
     "",
     "",
     "{{<start_of_turn>}}user\n",
     "{{<end_of_turn>}}\n",
     "{{<start_of_turn>}}model\n",
     {"<end_of_turn>", "<eos>"}},
    {"phi-3",
     {"<|user|>", "<|end|>", "<|assistant|>"},
     "<|user|>",
     "{{<|system|>}}\n",
     "{{<|end|>}}\n",
     "{{<|user|>}}\n",
     "{{<|end|>}}\n",
     "{{<|assistant|>}}\n",
     {"<|end|>", "<|endoftext|>"}},
    // DeepSeek-V2.5, V3 and the distilled R1 models.
    {"deepseek",
     {"<｜User｜>", "<｜Assistant｜>"},
     "<｜Assistant｜>",
     "",
     "",
     "{{<｜User｜>}}",
     "",
     "{{<｜Assistant｜>}}",
     {"<｜end▁of▁sentence｜>", "<｜User｜>"}},
    // DeepSeek-Coder: the marks are text.
    {"deepseek-coder",
     {},
     "### Instruction:",
     "",
     "\n",
     "### Instruction:\n",
     "\n",
     "### Response:\n",
     {"<|EOT|>", "<｜end▁of▁sentence｜>"}},
    {"granite-3",
     {"<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"},
     "<|start_of_role|>",
     "{{<|start_of_role|>}}system{{<|end_of_role|>}}",
     "{{<|end_of_text|>}}\n",
     "{{<|start_of_role|>}}user{{<|end_of_role|>}}",
     "{{<|end_of_text|>}}\n",
     "{{<|start_of_role|>}}assistant{{<|end_of_role|>}}",
     {"<|end_of_text|>", "<|start_of_role|>"}},
};

bool has(const ModelInfo& model, std::string_view token) {
  return std::find(model.control_tokens.begin(), model.control_tokens.end(), token) !=
         model.control_tokens.end();
}

bool fits(const Row& row, const ModelInfo& model) {
  if (model.chat_template.find(row.hint) == std::string::npos) return false;
  return std::all_of(row.needs.begin(), row.needs.end(),
                     [&](std::string_view token) { return token.empty() || has(model, token); });
}

void add_text(Prompt* prompt, std::string_view text) {
  if (text.empty()) return;
  if (!prompt->empty() && prompt->back().kind == PromptSegment::Kind::kText) {
    prompt->back().text += text;  // text that follows text is tokenised with it
  } else {
    prompt->push_back(text_segment(std::string(text)));
  }
}

void append(Prompt* prompt, const Prompt& piece) {
  for (const PromptSegment& segment : piece) {
    if (segment.kind == PromptSegment::Kind::kText) {
      add_text(prompt, segment.text);
    } else {
      prompt->push_back(segment);
    }
  }
}

Prompt parse(std::string_view piece) {
  Prompt out;
  while (!piece.empty()) {
    const size_t open = piece.find("{{");
    add_text(&out, piece.substr(0, open));
    if (open == std::string_view::npos) break;
    const size_t close = piece.find("}}", open);
    out.push_back(control_segment(std::string(piece.substr(open + 2, close - open - 2))));
    piece.remove_prefix(close + 2);
  }
  return out;
}

/// Whether the template opens answers with a thought, or with the mark that there is none.
bool thinks(std::string_view chat_template) {
  const size_t at = chat_template.rfind("add_generation_prompt");
  return at != std::string_view::npos &&
         chat_template.find("<think>", at) != std::string_view::npos;
}

/// An empty thought: what templates write with enable_thinking=false. The marks are control tokens
/// in some vocabularies and added tokens, which text holds too, in others.
Prompt empty_thought(const ModelInfo& model) {
  const auto mark = [&](const char* token) {
    return has(model, token) ? control_segment(token) : text_segment(token);
  };
  Prompt out;
  append(&out, {mark("<think>")});
  add_text(&out, "\n\n");
  append(&out, {mark("</think>")});
  add_text(&out, "\n\n");
  return out;
}

}  // namespace

std::optional<ChatFormat> choose_chat_format(const ModelInfo& model) {
  if (model.chat_template.empty()) return std::nullopt;
  for (const Row& row : kRows) {
    if (!fits(row, model)) continue;
    ChatFormat format;
    format.name = row.name;
    format.system_open = parse(row.system_open);
    format.system_close = parse(row.system_close);
    format.user_open = parse(row.user_open);
    format.user_close = parse(row.user_close);
    format.answer_open = parse(row.answer_open);
    if (thinks(model.chat_template)) append(&format.answer_open, empty_thought(model));
    for (std::string_view stop : row.stops) {
      if (!stop.empty() && has(model, stop)) format.stop_controls.emplace_back(stop);
    }
    return format;
  }
  return std::nullopt;
}

std::vector<std::string_view> chat_families() {
  std::vector<std::string_view> names;
  for (const Row& row : kRows) names.push_back(row.name);
  return names;
}

Prompt render_chat(const ChatFormat& format, std::string_view system, std::string_view user) {
  Prompt out;
  if (format.system_open.empty() && format.system_close.empty()) {
    append(&out, format.user_open);
    add_text(&out, system);
    if (!system.empty()) add_text(&out, "\n\n");
  } else {
    append(&out, format.system_open);
    add_text(&out, system);
    append(&out, format.system_close);
    append(&out, format.user_open);
  }
  add_text(&out, user);
  append(&out, format.user_close);
  append(&out, format.answer_open);
  return out;
}

std::string cannot_chat(const ModelInfo& model, std::string_view command) {
  const std::string file = std::filesystem::path(model.path).filename().string();
  std::string message = "the loaded model " + model.name;
  if (!file.empty() && file != model.name) message += " (" + file + ")";
  message += model.chat_template.empty() ? " only fills in code, it cannot follow instructions: `"
                                         : " has a chat template of no family that fimd knows: `";
  message += command;
  message +=
      "` needs an instruct model, such as Qwen2.5-Coder-Instruct or Qwen3 as a .gguf file. Put its "
      "path into model.path (docs/models.md says which models fit)";
  return message;
}

}  // namespace fimd
