// Message framing of the LSP base protocol: "Content-Length: N\r\n\r\n" followed by N bytes.
//
// A pure state machine over bytes, without I/O: any split of the same bytes gives the same events.
// Malformed headers are reported once, then the framer looks for the next "Content-Length:" and
// goes on from there. Owner: one StreamTransport. Thread: the owner's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace fimd::lsp {

struct FramingLimits {
  size_t max_header_bytes = 16 * 1024;
  size_t max_body_bytes = size_t{64} << 20;
  int max_errors_in_a_row = 16;  // then the stream is given up
};

struct FrameEvent {
  enum class Kind {
    kMessage,   // text: the body
    kTooLarge,  // text: what was wrong; the body is skipped
    kError,     // text: what was wrong; the framer looks for the next header
    kFatal,     // text: why the stream cannot be followed any more; nothing comes after it
  };
  Kind kind = Kind::kMessage;
  std::string text;
};

class MessageFramer {
 public:
  using Emit = std::function<void(FrameEvent)>;

  explicit MessageFramer(FramingLimits limits = {}) : limits_(limits) {}

  /// Consumes all of `bytes`, calling `emit` for each event completed by them.
  void feed(std::string_view bytes, const Emit& emit);

  bool dead() const { return state_ == State::kDead; }
  /// True between messages: an end of input here loses nothing.
  bool at_boundary() const { return state_ == State::kHeader && line_.empty() && !in_header_; }

 private:
  enum class State { kHeader, kBody, kSkip, kResync, kDead };

  void header_bytes(std::string_view* bytes, const Emit& emit);
  void end_of_line(const Emit& emit);
  void end_of_header(const Emit& emit);
  void field(std::string_view line, const Emit& emit);
  void resync_bytes(std::string_view* bytes);
  void malformed(std::string reason, const Emit& emit, bool whole_line = true);
  void reset_header();

  FramingLimits limits_;
  State state_ = State::kHeader;
  std::string line_;         // the unfinished header line
  size_t header_bytes_ = 0;  // of the current header block
  bool in_header_ = false;   // at least one field of the block was read
  bool has_length_ = false;
  uint64_t length_ = 0;
  uint64_t remaining_ = 0;  // of a body that is read or skipped
  std::string body_;
  size_t matched_ = 0;  // of "content-length:", while looking for it
  int errors_ = 0;
};

/// The bytes of one message.
std::string frame(std::string_view body);

}  // namespace fimd::lsp
