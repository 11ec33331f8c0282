#define PCRE2_CODE_UNIT_WIDTH 8

#include "engine/tokenizer/regex_splitter.h"

#include <pcre2.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "engine/tokenizer/unicode.h"

namespace fimd {
namespace {

template <auto kFree>
struct Free {
  template <class T>
  void operator()(T* p) const {
    kFree(p);
  }
};
using Code = std::unique_ptr<pcre2_code, Free<pcre2_code_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Free<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>>;

/// Backtracking steps of one match before it gives up; ordinary pieces take a few dozen.
constexpr uint32_t kMatchLimit = 20'000'000;
constexpr uint32_t kHeapLimitKib = 256 * 1024;

/// Text with every byte that is not UTF-8 replaced by U+FFFD, and the way back.
struct Repaired {
  std::string text;
  std::vector<size_t> repaired_at;  // offsets in `text` of the replacements, ascending

  /// Offset in the original text of an offset in `text`.
  size_t original(size_t pos) const {
    const auto before = std::lower_bound(repaired_at.begin(), repaired_at.end(), pos);
    return pos - 2 * static_cast<size_t>(before - repaired_at.begin());
  }
};

/// Nothing if `text` is valid UTF-8 as it is.
std::optional<Repaired> repair(std::string_view text) {
  size_t pos = 0;
  while (pos < text.size()) {
    const size_t length = utf8_length_at(text, pos);
    if (length == 0) break;
    pos += length;
  }
  if (pos == text.size()) return std::nullopt;
  Repaired r;
  r.text = text.substr(0, pos);
  while (pos < text.size()) {
    const size_t length = utf8_length_at(text, pos);
    if (length == 0) {
      r.repaired_at.push_back(r.text.size());
      append_utf8(0xFFFD, &r.text);
      ++pos;
    } else {
      r.text.append(text, pos, length);
      pos += length;
    }
  }
  return r;
}

class RegexSplitter : public PreTokenizer {
 public:
  RegexSplitter(Code code, MatchContext context)
      : code_(std::move(code)), context_(std::move(context)) {}

  void split(std::string_view text, size_t base, std::vector<size_t>* ends) const override {
    if (text.empty()) return;
    const size_t first = ends->size();
    if (const std::optional<Repaired> repaired = repair(text)) {
      split_valid(repaired->text, ends);
      for (size_t i = first; i < ends->size(); ++i) {
        (*ends)[i] = base + repaired->original((*ends)[i]);
      }
    } else {
      split_valid(text, ends);
      for (size_t i = first; i < ends->size(); ++i) (*ends)[i] += base;
    }
  }

 private:
  void split_valid(std::string_view text, std::vector<size_t>* ends) const {
    const MatchData data(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    size_t gap = 0;
    size_t pos = 0;
    while (data != nullptr && pos < text.size()) {
      const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
      int rc = pcre2_match(code_.get(), subject, text.size(), pos, PCRE2_NO_UTF_CHECK, data.get(),
                           context_.get());
      if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        rc = pcre2_match(code_.get(), subject, text.size(), pos, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         data.get(), context_.get());
      }
      if (rc < 0) break;  // no further match, or one that gave up
      const size_t* found = pcre2_get_ovector_pointer(data.get());
      const size_t begin = std::max(found[0], pos);  // \K could put it earlier
      const size_t end = found[1];
      if (end <= begin) {  // an empty match cuts nothing
        pos = begin;
        if (pos < text.size()) pos += std::max<size_t>(1, utf8_length_at(text, pos));
        continue;
      }
      if (gap < begin) ends->push_back(begin);
      ends->push_back(end);
      gap = end;
      pos = end;
    }
    if (gap < text.size()) ends->push_back(text.size());
  }

  Code code_;
  MatchContext context_;
};

}  // namespace

Result<std::unique_ptr<PreTokenizer>> make_regex_splitter(std::string_view pattern) {
  if (pattern.find("&&") != std::string_view::npos) {
    return Error{ErrorCode::kUnsupported,
                 "pre-tokenizer pattern intersects classes with &&: " + std::string(pattern)};
  }
  // Ruby's rules, which tokenizer.json files are written for: only \n ends a line, and ^ and $
  // match at every line.
  const CompileContext compile(pcre2_compile_context_create(nullptr));
  if (compile != nullptr) pcre2_set_newline(compile.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  size_t offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                          &offset, compile.get()));
  if (code == nullptr) {
    PCRE2_UCHAR text[256] = {};
    pcre2_get_error_message(error, text, sizeof text);
    return Error{ErrorCode::kUnsupported,
                 "pre-tokenizer pattern does not compile at offset " + std::to_string(offset) +
                     " (" + reinterpret_cast<const char*>(text) + "): " + std::string(pattern)};
  }
  // Without JIT support it only runs slower.
  (void)pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  MatchContext context(pcre2_match_context_create(nullptr));
  if (context == nullptr) return Error{ErrorCode::kResourceExhausted, "out of memory for a regex"};
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_heap_limit(context.get(), kHeapLimitKib);
  return std::unique_ptr<PreTokenizer>(
      std::make_unique<RegexSplitter>(std::move(code), std::move(context)));
}

}  // namespace fimd
