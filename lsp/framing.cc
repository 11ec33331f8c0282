#include "lsp/framing.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace fimd::lsp {
namespace {

constexpr std::string_view kLengthField = "content-length:";

char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

std::string lower(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return lower(c); });
  return out;
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

bool is_field_name(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_';
  });
}

// Skipping that much would look like a hang: the stream is given up instead.
uint64_t max_skip(const FramingLimits& limits) { return uint64_t{16} * limits.max_body_bytes; }

}  // namespace

std::string frame(std::string_view body) {
  std::string out = "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  out += body;
  return out;
}

void MessageFramer::feed(std::string_view bytes, const Emit& emit) {
  while (!bytes.empty()) {
    switch (state_) {
      case State::kHeader:
        header_bytes(&bytes, emit);
        break;
      case State::kBody: {
        const size_t n = static_cast<size_t>(std::min<uint64_t>(remaining_, bytes.size()));
        body_.append(bytes.substr(0, n));
        bytes.remove_prefix(n);
        remaining_ -= n;
        if (remaining_ == 0) {
          state_ = State::kHeader;
          errors_ = 0;
          std::string body;
          body.swap(body_);
          emit({FrameEvent::Kind::kMessage, std::move(body)});
        }
        break;
      }
      case State::kSkip: {
        const uint64_t n = std::min<uint64_t>(remaining_, bytes.size());
        bytes.remove_prefix(static_cast<size_t>(n));
        remaining_ -= n;
        if (remaining_ == 0) state_ = State::kHeader;
        break;
      }
      case State::kResync:
        resync_bytes(&bytes);
        break;
      case State::kDead:
        return;
    }
  }
}

void MessageFramer::header_bytes(std::string_view* bytes, const Emit& emit) {
  const size_t newline = bytes->find('\n');
  const size_t room = limits_.max_header_bytes - std::min(limits_.max_header_bytes, header_bytes_);
  const size_t n = std::min(newline == bytes->npos ? bytes->size() : newline, room);
  line_.append(bytes->substr(0, n));
  bytes->remove_prefix(n);
  header_bytes_ += n;
  if (bytes->empty()) return;
  if (bytes->front() != '\n' || header_bytes_ >= limits_.max_header_bytes) {
    malformed("a header of more than " + std::to_string(limits_.max_header_bytes) + " bytes", emit,
              /*whole_line=*/false);
    return;
  }
  bytes->remove_prefix(1);
  ++header_bytes_;
  end_of_line(emit);
}

void MessageFramer::end_of_line(const Emit& emit) {
  std::string_view line = line_;
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (!line.empty()) {
    field(line, emit);
    if (state_ == State::kHeader) line_.clear();
    return;
  }
  line_.clear();
  if (in_header_) {
    end_of_header(emit);
  } else {
    header_bytes_ = 0;  // blank lines between messages are harmless
  }
}

void MessageFramer::field(std::string_view line, const Emit& emit) {
  const size_t colon = line.find(':');
  const std::string_view name = trim(line.substr(0, colon));
  if (colon == line.npos || !is_field_name(name)) {
    malformed("a header line that is not 'Name: value'", emit);
    return;
  }
  const std::string_view value = trim(line.substr(colon + 1));
  const std::string key = lower(name);
  in_header_ = true;
  if (key == "content-length") {
    uint64_t length = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
    if (error != std::errc() || end != value.data() + value.size() || value.empty()) {
      line_.clear();  // do not find the same field again
      malformed("a Content-Length that is not a number", emit);
      return;
    }
    if (has_length_ && length != length_) {
      line_.clear();
      malformed("two different values of Content-Length", emit);
      return;
    }
    has_length_ = true;
    length_ = length;
  } else if (key == "content-type") {
    const std::string type = lower(value);
    const size_t charset = type.find("charset=");
    if (charset == type.npos) return;
    std::string_view set = std::string_view(type).substr(charset + 8);
    if (!set.empty() && set.front() == '"') set.remove_prefix(1);
    if (!set.starts_with("utf-8") && !set.starts_with("utf8")) {
      malformed("the character set of Content-Type '" + type.substr(0, 80) + "' is not utf-8",
                emit);
    }
  }
}

void MessageFramer::end_of_header(const Emit& emit) {
  if (!has_length_) {
    malformed("a header without Content-Length", emit);
    return;
  }
  const uint64_t length = length_;
  reset_header();
  if (length > max_skip(limits_)) {
    state_ = State::kDead;
    emit({FrameEvent::Kind::kFatal, "Content-Length " + std::to_string(length) + " is absurd"});
  } else if (length > limits_.max_body_bytes) {
    state_ = State::kSkip;
    remaining_ = length;
    emit({FrameEvent::Kind::kTooLarge,
          "a message of " + std::to_string(length) + " bytes; at most " +
              std::to_string(limits_.max_body_bytes) + " are accepted"});
  } else if (length == 0) {
    emit({FrameEvent::Kind::kMessage, ""});
  } else {
    state_ = State::kBody;
    remaining_ = length;
    // Grows with what really arrives: a claimed length reserves nothing large.
    body_.reserve(static_cast<size_t>(std::min<uint64_t>(length, 64 * 1024)));
  }
}

void MessageFramer::malformed(std::string reason, const Emit& emit, bool whole_line) {
  std::string seen;
  seen.swap(line_);
  reset_header();
  if (++errors_ > limits_.max_errors_in_a_row) {
    state_ = State::kDead;
    emit({FrameEvent::Kind::kFatal, "too many malformed headers, the last: " + reason});
    return;
  }
  state_ = State::kResync;
  matched_ = 0;
  emit({FrameEvent::Kind::kError, std::move(reason)});
  // The line at fault may itself hold the next header, after the rest of a broken body.
  if (whole_line) seen += '\n';
  std::string_view rest = seen;
  while (!rest.empty() && state_ == State::kResync) resync_bytes(&rest);
  while (!rest.empty() && state_ == State::kHeader) header_bytes(&rest, emit);
}

void MessageFramer::resync_bytes(std::string_view* bytes) {
  for (size_t i = 0; i < bytes->size(); ++i) {
    const char c = lower((*bytes)[i]);
    // The field's only self-overlap is its first letter ("...c" may begin it again).
    if (c != kLengthField[matched_]) matched_ = 0;
    if (c == kLengthField[matched_]) ++matched_;
    if (matched_ == kLengthField.size()) {
      matched_ = 0;
      bytes->remove_prefix(i + 1);
      state_ = State::kHeader;
      line_ = "Content-Length:";
      header_bytes_ = line_.size();
      return;
    }
  }
  *bytes = {};
}

void MessageFramer::reset_header() {
  header_bytes_ = 0;
  in_header_ = false;
  has_length_ = false;
  length_ = 0;
}

}  // namespace fimd::lsp
