#include "engine/tokenizer/special_tokens.h"

#include <algorithm>
#include <iterator>

namespace fimd {
namespace {

// Spelled so that they do not occur in text by accident, so the text alone decides.
constexpr std::string_view kMarkers[] = {
    // Qwen, CodeGemma, Granite 4
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<|fim_repo|>",
    "<|file_separator|>",
    // StarCoder, Granite, Mellum, Stable Code
    "<fim_prefix>",
    "<fim_middle>",
    "<fim_suffix>",
    "<fim_pad>",
    "<fim-prefix>",
    "<fim-middle>",
    "<fim-suffix>",
    "<fim-pad>",
    "<repo_name>",
    "<reponame>",
    "<file_sep>",
    // DeepSeek
    "<｜fim▁begin｜>",
    "<｜fim▁hole｜>",
    "<｜fim▁end｜>",
    // CodeLlama
    "▁<PRE>",
    "▁<SUF>",
    "▁<MID>",
    "▁<EOT>",
    // Seed-Coder
    "<[fim-prefix]>",
    "<[fim-middle]>",
    "<[fim-suffix]>",
};

constexpr std::string_view kEndTexts[] = {
    "<|endoftext|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|EOT|>",
    "<|return|>",
    "<|call|>",
    "</s>",
    "<eos>",
    "<end_of_turn>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
    "<[end▁of▁sentence]>",
};

// Markers that end a generation only where a file types them as control: their texts are ordinary
// enough to be a normal token.
constexpr std::string_view kShortMarkers[] = {
    "<PRE>", "<SUF>", "<MID>", "<PAD>", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "<filename>",
};

template <class List>
bool contains(const List& list, std::string_view text) {
  return std::find(std::begin(list), std::end(list), text) != std::end(list);
}

}  // namespace

bool is_control_text(std::string_view text) { return contains(kMarkers, text); }

bool ends_generation(std::string_view text) {
  return contains(kMarkers, text) || contains(kEndTexts, text) || contains(kShortMarkers, text);
}

}  // namespace fimd
