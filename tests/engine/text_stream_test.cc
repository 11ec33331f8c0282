#include "engine/text_stream.h"

#include <doctest/doctest.h>

namespace fimd {
namespace {

struct Outcome {
  std::string text;
  std::vector<std::string> pieces;
  bool stopped = false;
};

Outcome stream(TextStream stream, const std::vector<std::string>& tokens) {
  Outcome out;
  const auto take = [&] {
    const std::string piece(stream.take());
    if (!piece.empty()) out.pieces.push_back(piece);
    out.text += piece;
  };
  for (const std::string& token : tokens) {
    out.stopped = stream.push(token, -1.0F);
    take();
    if (out.stopped) break;
  }
  stream.finish();
  take();
  return out;
}

TEST_CASE("text passes through piece by piece") {
  const Outcome out = stream(TextStream("", {}), {"foo", "(", "bar)"});
  CHECK(out.pieces == std::vector<std::string>{"foo", "(", "bar)"});
}

TEST_CASE("characters split over tokens come out whole") {
  const std::string text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
  std::vector<std::string> bytes;
  for (const char c : text) bytes.emplace_back(1, c);
  const Outcome out = stream(TextStream("", {}), bytes);
  CHECK(out.text == text);
  CHECK(out.pieces.size() == 5);
}

TEST_CASE("what is not UTF-8 is replaced, and a character cut short at the end is dropped") {
  CHECK(stream(TextStream("", {}), {"a\xff", "b"}).text ==
        "a\xef\xbf\xbd"
        "b");
  CHECK(stream(TextStream("", {}), {"\xe2\x82", "b"}).text ==
        "\xef\xbf\xbd"
        "b");
  CHECK(stream(TextStream("", {}), {"\xed\xa0\x80"}).text ==
        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  CHECK(stream(TextStream("", {}), {"a", "\xe2\x82"}).text == "a");
}

TEST_CASE("a stop string ends the text wherever token boundaries fall") {
  const std::string text = "one\n\ntwo";
  for (size_t i = 0; i <= text.size(); ++i) {
    for (size_t k = i; k <= text.size(); ++k) {
      const Outcome out = stream(TextStream("", {"\n\n", "xyz"}),
                                 {text.substr(0, i), text.substr(i, k - i), text.substr(k)});
      CHECK(out.text == "one");
      CHECK(out.stopped);
    }
  }
}

TEST_CASE("what only begins like a stop string is held back, then shown") {
  TextStream held("", {"END!"});
  CHECK_FALSE(held.push("xEN", 0));
  CHECK(held.take() == "x");
  CHECK_FALSE(held.push("D", 0));
  CHECK(held.take() == "");
  CHECK_FALSE(held.push("E", 0));
  CHECK(held.take() == "END");
  held.finish();
  CHECK(held.take() == "E");

  // A failed beginning may contain the real one.
  const Outcome out = stream(TextStream("", {"aab"}), {"a", "a", "a", "b", "c"});
  CHECK(out.text == "a");
  CHECK(out.stopped);
  // The earliest stop wins.
  CHECK(stream(TextStream("", {"c", "b"}), {"abc"}).text == "a");
  CHECK(stream(TextStream("", {""}), {"abc"}).text == "abc");
}

TEST_CASE("healed bytes are not shown again") {
  CHECK(stream(TextStream(" na", {}), {" name", " ="}).text == "me =");
  CHECK(stream(TextStream(" na", {}), {" ", "n", "a", "me"}).pieces ==
        std::vector<std::string>{"me"});
  TextStream healed("abc", {});
  healed.push("ab", 0);
  CHECK(healed.healing() == "c");
  healed.push("cd", 0);
  CHECK(healed.healing() == "");
  CHECK(healed.take() == "d");
  // A stop string counts only in what is new.
  CHECK(stream(TextStream("\n", {"\n"}), {"\n", "x", "\n"}).text == "x");
}

TEST_CASE("a piece carries the log-probability of its tokens") {
  TextStream logprobs("a", {});
  logprobs.push("a", -5.0F);  // only repeats the prompt
  logprobs.push("\xc3", -1.0F);
  CHECK(logprobs.take() == "");
  logprobs.push("\xa9", -2.0F);
  CHECK(logprobs.take() == "\xc3\xa9");
  CHECK(logprobs.logprob() == doctest::Approx(-3.0F));
  logprobs.push("x", -0.5F);
  CHECK(logprobs.take() == "x");
  CHECK(logprobs.logprob() == doctest::Approx(-0.5F));
}

}  // namespace
}  // namespace fimd
