// TextStream: from the bytes of generated tokens to pieces of text that may be shown.
//
// Swallows the bytes that token healing generates again, holds back incomplete UTF-8 characters and
// anything that may be the beginning of a stop string, and ends at a stop string. Every piece it
// gives out is valid UTF-8; bytes that are not become U+FFFD.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fimd {

class TextStream {
 public:
  /// `healed`: bytes at the end of the prompt that the first tokens will repeat.
  TextStream(std::string healed, std::vector<std::string> stops);

  /// The bytes that the coming tokens must still repeat.
  std::string_view healing() const { return healing_; }

  /// Adds a token. Returns true when a stop string is complete: nothing more may be pushed.
  bool push(std::string_view bytes, float logprob);

  /// No more tokens come: what was held back becomes ready.
  void finish();

  /// The piece that may be shown now, possibly empty. Valid until the next call of push, finish or
  /// take.
  std::string_view take();
  /// Log-probability of the tokens that the piece last taken came from.
  float logprob() const { return taken_logprob_; }

 private:
  void release(size_t n);

  std::string healing_;
  std::vector<std::string> stops_;
  std::string pending_;  // generated, not yet ready
  std::string ready_;    // valid UTF-8
  std::string taken_;
  float pending_logprob_ = 0;
  float taken_logprob_ = 0;
};

}  // namespace fimd
