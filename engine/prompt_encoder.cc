#include "engine/prompt_encoder.h"

#include "engine/healing.h"

namespace fimd {

PromptEncoder::PromptEncoder(const Tokenizer& tokenizer, size_t cache_bytes)
    : tokenizer_(tokenizer), capacity_(cache_bytes) {}

PromptEncoder::Ids PromptEncoder::segment(std::string_view text) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = index_.find(text); found != index_.end()) {
      entries_.splice(entries_.begin(), entries_, found->second);
      ++hits_;
      return found->second->ids;
    }
  }
  // Outside the lock: a long text takes milliseconds, and both threads come here.
  auto ids = std::make_shared<std::vector<TokenId>>();
  tokenizer_.encode(text, ids.get());
  remember({std::string(text), ids});
  return ids;
}

void PromptEncoder::remember(Entry entry) {
  const std::lock_guard lock(mutex_);
  if (index_.contains(entry.text)) return;  // the other thread was quicker
  bytes_ += entry.bytes();
  entries_.push_front(std::move(entry));
  index_.emplace(entries_.front().text, entries_.begin());
  while (bytes_ > capacity_) {
    bytes_ -= entries_.back().bytes();
    index_.erase(entries_.back().text);
    entries_.pop_back();
  }
}

Result<EncodedPrompt> PromptEncoder::encode(const Prompt& prompt, bool heal) {
  EncodedPrompt encoded;
  const auto bos = tokenizer_.bos();
  const bool has_bos = !prompt.empty() && prompt.front().kind == PromptSegment::Kind::kControl &&
                       tokenizer_.control_id(prompt.front().text) == bos;
  if (tokenizer_.add_bos() && bos && !has_bos) encoded.ids.push_back(*bos);
  size_t last_text = 0;  // tokens at the end of encoded.ids that are of the last text segment
  for (const PromptSegment& part : prompt) {
    if (part.kind == PromptSegment::Kind::kControl) {
      const auto id = tokenizer_.control_id(part.text);
      if (!id) {
        return Error{ErrorCode::kInvalidArgument,
                     "the model has no control token '" + part.text.substr(0, 80) + "'"};
      }
      encoded.ids.push_back(*id);
      last_text = 0;
    } else {
      const Ids ids = segment(part.text);
      encoded.ids.insert(encoded.ids.end(), ids->begin(), ids->end());
      last_text = ids->size();
      const auto end = static_cast<int>(encoded.ids.size());
      encoded.segments.push_back({end - static_cast<int>(last_text), end});
    }
  }
  if (encoded.ids.empty()) {
    return Error{ErrorCode::kInvalidArgument, "the prompt is empty"};
  }
  if (last_text == 0) {  // what is typed will begin here
    const auto end = static_cast<int>(encoded.ids.size());
    encoded.segments.push_back({end, end});
  }
  if (!heal || last_text == 0) return encoded;

  const std::span<const TokenId> ids(encoded.ids);
  auto take = static_cast<size_t>(tokens_to_take_back(tokenizer_, ids.last(last_text)));
  // The model needs something to read.
  take = std::min(take, encoded.ids.size() - 1);
  const auto cut = encoded.ids.end() - static_cast<ptrdiff_t>(take);
  encoded.taken_back.assign(cut, encoded.ids.end());
  for (const TokenId id : encoded.taken_back) encoded.healed += tokenizer_.bytes(id);
  encoded.ids.erase(cut, encoded.ids.end());
  return encoded;
}

size_t PromptEncoder::count(std::string_view text) { return segment(text)->size(); }

size_t PromptEncoder::hits() const {
  const std::lock_guard lock(mutex_);
  return hits_;
}

}  // namespace fimd
