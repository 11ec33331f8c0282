#include "lsp/framing.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

namespace fimd::lsp {
namespace {

using Kind = FrameEvent::Kind;

// Events as text, fed in pieces that end at `cuts`.
std::vector<std::string> feed(const std::string& bytes, const std::vector<size_t>& cuts,
                              FramingLimits limits = {}) {
  constexpr const char* kNames[] = {"message ", "too large ", "error ", "fatal "};
  MessageFramer framer(limits);
  std::vector<std::string> events;
  size_t from = 0;
  const auto piece = [&](size_t to) {
    framer.feed(std::string_view(bytes).substr(from, to - from), [&](FrameEvent event) {
      events.push_back(kNames[static_cast<int>(event.kind)] + event.text);
    });
    from = to;
  };
  for (const size_t cut : cuts) piece(cut);
  piece(bytes.size());
  return events;
}

std::vector<std::string> whole(const std::string& bytes, FramingLimits limits = {}) {
  return feed(bytes, {}, limits);
}

const FramingLimits kSmall{.max_header_bytes = 100, .max_body_bytes = 50, .max_errors_in_a_row = 4};

// Streams with everything in them: variations of headers, garbage, broken and oversized messages.
const std::vector<std::string>& streams() {
  static const std::vector<std::string> all = {
      frame("{}") + frame("") + frame("[1,2]"),
      "content-length:2\r\n\r\n{}CONTENT-LENGTH :  3 \r\nContent-Type: x; charset=utf-8\r\n\r\nabc",
      "Content-Length: 2\n\n{}\r\n\r\nContent-Length: 1\r\n\r\nx",
      "garbage\r\n\r\n" + frame("after"),
      frame("one") + "}} lost bytes Content-Length: 4\r\n\r\nfour" + frame("two"),
      "Content-Length: twelve\r\n\r\n" + frame("next"),
      "Content-Length: -1\r\n\r\n" + frame("next"),
      "Content-Length: 3\r\nContent-Length: 4\r\n\r\n" + frame("next"),
      "X-Other: 1\r\n\r\n" + frame("next"),
      std::string(300, 'h') + frame("next"),
      "Content-Length: 60\r\n\r\n" + std::string(60, 'b') + frame("next"),
      "Content-Length: 99999999999999\r\n\r\n" + frame("never"),
      "Content-Type: text; charset=utf-16\r\nContent-Length: 2\r\n\r\n{}" + frame("next"),
      "a\nb\nc\nContent-Length: 2\n\n{}" + frame("next"),
      std::string("\0\xff\xfe:\r\n", 6) + frame("next"),
      "Content-Length: x\r\nContent-Length: y\r\nContent-Length: z\r\nContent-Length: u\r\n"
      "Content-Length: v\r\n" +
          frame("never"),
  };
  return all;
}

TEST_CASE("any split of the bytes gives the same events") {
  std::mt19937 random(7);
  for (const std::string& stream : streams()) {
    CAPTURE(stream);
    const auto expected = whole(stream, kSmall);
    for (size_t cut = 0; cut <= stream.size(); ++cut) {
      CAPTURE(cut);
      REQUIRE(feed(stream, {cut}, kSmall) == expected);
    }
    std::vector<size_t> every(stream.size());
    for (size_t i = 0; i < every.size(); ++i) every[i] = i;
    REQUIRE(feed(stream, every, kSmall) == expected);
    for (int round = 0; round < 50; ++round) {
      std::vector<size_t> cuts;
      for (size_t at = 0; at < stream.size(); at += random() % 23) cuts.push_back(at++);
      REQUIRE(feed(stream, cuts, kSmall) == expected);
    }
  }
}

TEST_CASE("header variations are accepted") {
  CHECK(whole(streams()[1]) == std::vector<std::string>{"message {}", "message abc"});
  CHECK(whole(streams()[2]) == std::vector<std::string>{"message {}", "message x"});
}

TEST_CASE("after malformed headers the next message is found") {
  for (const size_t i : {3, 5, 6, 7, 8, 9, 12, 14}) {
    CAPTURE(i);
    const auto events = whole(streams()[i], kSmall);
    REQUIRE(events.size() >= 2);
    CHECK(events.front().starts_with("error "));
    CHECK((events.back() == "message next" || events.back() == "message after"));
  }
  const auto events = whole(streams()[4], kSmall);
  CHECK(events.front() == "message one");
  CHECK(events[1].starts_with("error "));
  CHECK(events[2] == "message four");
  CHECK(events[3] == "message two");
}

TEST_CASE("a body above the cap is skipped, an absurd one ends the stream") {
  const auto skipped = whole(streams()[10], kSmall);
  REQUIRE(skipped.size() == 2);
  CHECK(skipped[0].starts_with("too large a message of 60 bytes"));
  CHECK(skipped[1] == "message next");
  const auto absurd = whole(streams()[11], kSmall);
  REQUIRE(absurd.size() == 1);
  CHECK(absurd[0].starts_with("fatal "));
}

TEST_CASE("errors without end give the stream up") {
  const auto events = whole(streams()[15], kSmall);
  CHECK(events.back().starts_with("fatal "));
}

TEST_CASE("the boundary between messages is known") {
  MessageFramer framer;
  const auto nothing = [](const FrameEvent&) {};
  CHECK(framer.at_boundary());
  framer.feed("Content-", nothing);
  CHECK_FALSE(framer.at_boundary());
  framer.feed("Length: 2\r\n\r\n{", nothing);
  CHECK_FALSE(framer.at_boundary());
  framer.feed("}", nothing);
  CHECK(framer.at_boundary());
}

}  // namespace
}  // namespace fimd::lsp
