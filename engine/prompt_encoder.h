// PromptEncoder: from prompts to token ids, remembering the segments it has seen.
//
// Between two keystrokes most segments of a prompt are the same; only the changed ones are
// tokenised again.
//
// Thread: any.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/checkpoint_plan.h"
#include "engine/generator.h"
#include "engine/tokenizer/tokenizer.h"
#include "support/result.h"

namespace fimd {

struct EncodedPrompt {
  std::vector<TokenId> ids;
  std::string healed;  // bytes taken back from the end: the generation must begin with them
  std::vector<TokenId> taken_back;
  std::vector<TokenRange> segments;  // of text, before healing; empty where nothing is typed yet
};

class PromptEncoder {
 public:
  explicit PromptEncoder(const Tokenizer& tokenizer, size_t cache_bytes = size_t{4} << 20);

  /// Error kInvalidArgument: a control segment names no control token, or the prompt is empty.
  Result<EncodedPrompt> encode(const Prompt& prompt, bool heal);

  /// Tokens of `text` as one text segment.
  size_t count(std::string_view text);

  size_t hits() const;

 private:
  using Ids = std::shared_ptr<const std::vector<TokenId>>;
  struct Entry {
    std::string text;
    Ids ids;
    size_t bytes() const { return text.size() + ids->size() * sizeof(TokenId) + sizeof(Entry); }
  };

  Ids segment(std::string_view text);
  void remember(Entry entry);

  const Tokenizer& tokenizer_;
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> index_;
  size_t bytes_ = 0;
  size_t hits_ = 0;
};

}  // namespace fimd
