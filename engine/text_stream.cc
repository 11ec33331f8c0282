#include "engine/text_stream.h"

#include <algorithm>
#include <cassert>

namespace fimd {

namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

enum class Utf8 { kComplete, kIncomplete, kInvalid };

struct Utf8Step {
  Utf8 kind = Utf8::kInvalid;
  size_t bytes = 1;  // of the character, or of the invalid part
};

/// Looks at the character at the start of `text`, which is not empty (Unicode, table 3-7).
Utf8Step next_character(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return {Utf8::kComplete, 1};
  size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  } else {
    return {Utf8::kInvalid, 1};
  }
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8::kIncomplete, i};
    if (at(i) < low || at(i) > high) return {Utf8::kInvalid, i};
    low = 0x80;
    high = 0xbf;
  }
  return {Utf8::kComplete, length};
}

/// Length of the longest end of `text` that is the beginning of `stop`, but not all of it.
size_t partial_stop(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
  }
  return 0;
}

}  // namespace

TextStream::TextStream(std::string healed, std::vector<std::string> stops)
    : healing_(std::move(healed)), stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

bool TextStream::push(std::string_view bytes, float logprob) {
  const size_t repeated = std::min(bytes.size(), healing_.size());
  assert(healing_.compare(0, repeated, bytes.substr(0, repeated)) == 0);
  healing_.erase(0, repeated);
  bytes.remove_prefix(repeated);
  if (bytes.empty()) return false;
  pending_.append(bytes);
  pending_logprob_ += logprob;

  size_t stop_at = std::string::npos;
  size_t held = 0;
  for (const std::string& stop : stops_) {
    stop_at = std::min(stop_at, pending_.find(stop));
    held = std::max(held, partial_stop(pending_, stop));
  }
  if (stop_at != std::string::npos) {
    release(stop_at);
    pending_.clear();
    return true;
  }
  release(pending_.size() - held);
  return false;
}

/// Makes the first n pending bytes ready, except a character cut short at their end.
void TextStream::release(size_t n) {
  size_t at = 0;
  while (at < n) {
    const Utf8Step step = next_character(std::string_view(pending_).substr(at, n - at));
    if (step.kind == Utf8::kIncomplete) break;
    if (step.kind == Utf8::kComplete) {
      ready_.append(pending_, at, step.bytes);
    } else {
      ready_.append(kReplacement);
    }
    at += step.bytes;
  }
  pending_.erase(0, at);
}

void TextStream::finish() {
  release(pending_.size());
  pending_.clear();
}

std::string_view TextStream::take() {
  taken_.clear();
  taken_.swap(ready_);
  if (!taken_.empty()) {
    taken_logprob_ = pending_logprob_;
    pending_logprob_ = 0;
  }
  return taken_;
}

}  // namespace fimd
