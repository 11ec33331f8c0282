#include "engine/tokenizer/scanners.h"

#include <utility>

#include "engine/tokenizer/unicode.h"

namespace fimd {
namespace {

constexpr uint8_t bits(CharClass c) { return static_cast<uint8_t>(c); }
constexpr uint8_t kL = bits(CharClass::kLetter);
constexpr uint8_t kM = bits(CharClass::kMark);
constexpr uint8_t kN = bits(CharClass::kNumber);
constexpr uint8_t kP = bits(CharClass::kPunctuation);
constexpr uint8_t kS = bits(CharClass::kSpace);

/// One character: its classes, its code point (0x110000 if not UTF-8) and its length.
struct Char {
  uint8_t classes;
  uint32_t code;
  size_t length;
};

/// Text with the questions that the scanners ask about it.
class Source {
 public:
  explicit Source(std::string_view text) : text_(text), classes_(CharClasses::instance()) {}

  size_t size() const { return text_.size(); }

  Char at(size_t pos) const {
    const auto byte = static_cast<unsigned char>(text_[pos]);
    if (byte < 0x80) return {bits(classes_.of(byte)), byte, 1};
    const size_t length = utf8_length_at(text_, pos);
    if (length == 0) return {bits(CharClass::kOther), 0x110000, 1};
    const uint32_t code = utf8_code_point(text_, pos, length);
    return {bits(classes_.of(code)), code, length};
  }

  /// End of the run of characters of the classes `in` that starts at `pos`.
  size_t skip(size_t pos, uint8_t in) const {
    while (pos < text_.size()) {
      const Char c = at(pos);
      if ((c.classes & in) == 0) break;
      pos += c.length;
    }
    return pos;
  }

  /// End of the run of characters of none of the classes `out` that starts at `pos`.
  size_t skip_not(size_t pos, uint8_t out) const {
    while (pos < text_.size()) {
      const Char c = at(pos);
      if ((c.classes & out) != 0) break;
      pos += c.length;
    }
    return pos;
  }

  bool is(size_t pos, char c) const { return pos < text_.size() && text_[pos] == c; }
  bool is_newline(size_t pos) const { return is(pos, '\n') || is(pos, '\r'); }

  /// 's|'t|'re|'ve|'m|'ll|'d at `pos`, which holds the apostrophe; 0 if none. Letters of either
  /// case if `any_case`.
  size_t contraction(size_t pos, bool any_case) const {
    const auto letter = [&](size_t at) -> char {
      if (at >= text_.size()) return '\0';
      const char c = text_[at];
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    };
    const char a = letter(pos + 1);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    const char b = letter(pos + 2);
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
    return 0;
  }

  /// \s+(?!\S)|\s+ at `pos`, which holds a space: a run before a non-space gives back its last
  /// character.
  size_t spaces(size_t pos) const {
    size_t end = pos;
    size_t last = pos;
    while (end < text_.size()) {
      const Char c = at(end);
      if ((c.classes & kS) == 0) break;
      last = end;
      end += c.length;
    }
    return end == text_.size() || last == pos ? end : last;
  }

  /// \s*[\r\n]+ at `pos`, which holds a space: up to the last line break of the run; 0 if it has
  /// none.
  size_t spaces_to_newline(size_t pos) const {
    size_t end = 0;
    while (pos < text_.size()) {
      const Char c = at(pos);
      if ((c.classes & kS) == 0) break;
      pos += c.length;
      if (c.code == '\n' || c.code == '\r') end = pos;
    }
    return end;
  }

 private:
  std::string_view text_;
  const CharClasses& classes_;
};

size_t gpt2_piece(const Source& s, size_t pos) {
  Char c = s.at(pos);
  if (c.code == '\'') {
    if (const size_t length = s.contraction(pos, false)) return pos + length;
  }
  size_t word = pos;
  if (c.code == ' ' && pos + 1 < s.size()) {
    word = pos + 1;
    c = s.at(word);
  }
  if ((c.classes & kS) != 0) return s.spaces(pos);
  word += c.length;
  if ((c.classes & kL) != 0) return s.skip(word, kL);
  if ((c.classes & kN) != 0) return s.skip(word, kN);
  return s.skip_not(word, kS | kL | kN);
}

class Gpt2Scanner : public PreTokenizer {
 public:
  void split(std::string_view text, size_t base, std::vector<size_t>* ends) const override {
    const Source s(text);
    for (size_t pos = 0; pos < text.size();) {
      pos = gpt2_piece(s, pos);
      ends->push_back(base + pos);
    }
  }
};

class StarcoderScanner : public PreTokenizer {
 public:
  void split(std::string_view text, size_t base, std::vector<size_t>* ends) const override {
    const Source s(text);
    for (size_t pos = 0; pos < text.size();) {
      const size_t number = s.skip_not(pos, kN);
      gpt2_.split(text.substr(pos, number - pos), base + pos, ends);
      pos = number;
      if (pos < text.size()) {
        pos += s.at(pos).length;
        ends->push_back(base + pos);
      }
    }
  }

 private:
  Gpt2Scanner gpt2_;
};

/// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?W+|\p{N}{1,D}| ?[^\sW\p{N}]+[\r\n]*|\s*[\r\n]+
/// |\s+(?!\S)|\s+ where W is \p{L}, or \p{L} and \p{M}, and D = kDigits.
template <int kDigits, uint8_t kWord>
size_t cl100k_piece(const Source& s, size_t pos) {
  const Char c = s.at(pos);
  if ((c.classes & kWord) != 0) return s.skip(pos + c.length, kWord);
  if ((c.classes & kN) != 0) {
    size_t end = pos + c.length;
    for (int n = 1; n < kDigits && end < s.size(); ++n) {
      const Char d = s.at(end);
      if ((d.classes & kN) == 0) break;
      end += d.length;
    }
    return end;
  }
  if (c.code == '\'') {
    if (const size_t length = s.contraction(pos, true)) return pos + length;
  }
  const size_t next = pos + c.length;
  const bool line_break = c.code == '\n' || c.code == '\r';
  if (next < s.size() && !line_break) {
    const Char d = s.at(next);
    if ((d.classes & kWord) != 0) return s.skip(next + d.length, kWord);
  }
  size_t word = pos;
  if (c.code == ' ') word = next;
  if (word < s.size()) {
    const size_t end = s.skip_not(word, kS | kWord | kN);
    if (end > word) {
      size_t after = end;
      while (s.is_newline(after)) ++after;
      return after;
    }
  }
  if (const size_t end = s.spaces_to_newline(pos)) return end;
  return s.spaces(pos);
}

template <int kDigits, uint8_t kWord>
class Cl100kScanner : public PreTokenizer {
 public:
  void split(std::string_view text, size_t base, std::vector<size_t>* ends) const override {
    const Source s(text);
    for (size_t pos = 0; pos < text.size();) {
      pos = cl100k_piece<kDigits, kWord>(s, pos);
      ends->push_back(base + pos);
    }
  }
};

/// One step of a sequence: `Match::length(source, pos)` is what matches at `pos`, 0 if nothing.
template <class Match>
class Step : public PreTokenizer {
 public:
  void split(std::string_view text, size_t base, std::vector<size_t>* ends) const override {
    const Source s(text);
    size_t gap = 0;  // start of what has not matched yet
    for (size_t pos = 0; pos < text.size();) {
      const size_t length = Match::length(s, pos);
      if (length == 0) {
        pos += s.at(pos).length;
        continue;
      }
      if (gap < pos) ends->push_back(base + pos);
      pos += length;
      ends->push_back(base + pos);
      gap = pos;
    }
    if (gap < text.size()) ends->push_back(base + text.size());
  }
};

struct LineBreak {  // [\r\n]
  static size_t length(const Source& s, size_t pos) { return s.is_newline(pos) ? 1 : 0; }
};

template <uint8_t kClass>
struct SpaceThenRun {  // \s?C+
  static size_t length(const Source& s, size_t pos) {
    const Char c = s.at(pos);
    if ((c.classes & kClass) != 0) return s.skip(pos + c.length, kClass) - pos;
    if ((c.classes & kS) == 0) return 0;
    const size_t end = s.skip(pos + c.length, kClass);
    return end > pos + c.length ? end - pos : 0;
  }
};

struct CjkRun {  // [一-龥ࠀ-一가-퟿]+
  static bool is_cjk(uint32_t c) {
    return (c >= 0x800 && c <= 0x9FA5) || (c >= 0xAC00 && c <= 0xD7FF);
  }
  static size_t length(const Source& s, size_t pos) {
    size_t end = pos;
    while (end < s.size()) {
      const Char c = s.at(end);
      if (!is_cjk(c.code)) break;
      end += c.length;
    }
    return end - pos;
  }
};

struct OneNumber {  // \p{N}
  static size_t length(const Source& s, size_t pos) {
    const Char c = s.at(pos);
    return (c.classes & kN) != 0 ? c.length : 0;
  }
};

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}

  void split(std::string_view text, size_t base, std::vector<size_t>* ends) const override {
    if (text.empty()) return;
    std::vector<size_t> pieces = {text.size()};
    std::vector<size_t> finer;
    for (const auto& step : steps_) {
      finer.clear();
      size_t begin = 0;
      for (const size_t end : pieces) {
        step->split(text.substr(begin, end - begin), begin, &finer);
        begin = end;
      }
      pieces.swap(finer);
    }
    for (const size_t end : pieces) ends->push_back(base + end);
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_gpt2_scanner() { return std::make_unique<Gpt2Scanner>(); }

std::unique_ptr<PreTokenizer> make_starcoder_scanner() {
  return std::make_unique<StarcoderScanner>();
}

std::unique_ptr<PreTokenizer> make_qwen2_scanner() {
  return std::make_unique<Cl100kScanner<1, kL>>();
}

std::unique_ptr<PreTokenizer> make_qwen35_scanner() {
  return std::make_unique<Cl100kScanner<1, kL | kM>>();
}

std::unique_ptr<PreTokenizer> make_llama3_scanner() {
  return std::make_unique<Cl100kScanner<3, kL>>();
}

std::unique_ptr<PreTokenizer> make_deepseek_coder_scanner() {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  steps.push_back(std::make_unique<Step<LineBreak>>());
  steps.push_back(std::make_unique<Step<SpaceThenRun<kL>>>());
  steps.push_back(std::make_unique<Step<SpaceThenRun<kP>>>());
  steps.push_back(std::make_unique<Step<CjkRun>>());
  steps.push_back(std::make_unique<Step<OneNumber>>());
  return make_sequence(std::move(steps));
}

std::unique_ptr<PreTokenizer> make_sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) {
  return std::make_unique<Sequence>(std::move(steps));
}

}  // namespace fimd
