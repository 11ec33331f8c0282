// Language: what fimd knows about one programming language. One file in context/languages/ and one
// row in language.cc each; docs/languages.md tells how to add one.
//
// Languages are immutable, live as long as the program and are read from any thread.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

struct TSLanguage;

namespace fimd {

/// How a language marks where a block ends.
enum class BlockStyle {
  kBrackets,     // { }
  kIndentation,  // Python, YAML
  kKeywords,     // do ... end, if ... fi
  kParagraphs,   // blank lines
};

/// Roles of syntax nodes, as bits; a kind may have several.
enum NodeRole : uint16_t {
  kStatement = 1 << 0,  // what a completion may end with: statements, declarations, members, pairs
  kBlock = 1 << 1,      // a sequence of statements or members and its delimiters
  kArguments = 1 << 2,  // of a call
  kString = 1 << 3,
  kInterpolation = 1 << 4,  // code inside a string
  kComment = 1 << 5,
  kFunction = 1 << 6,  // a definition whose body holds no definitions of interest
  kType = 1 << 7,      // a definition that may hold others: class, namespace, impl
  kVariable = 1 << 8,  // a definition when it stands outside of functions: constants, globals
  kImport = 1 << 9,
  kNewlineEnds = 1 << 10,  // a statement that no later line can prolong
  kCommaEnds = 1 << 11,    // an item of a list: a comma behind it belongs to it
  kSection = 1 << 12,      // goes on until the next one: case 1: ...
};

/// A string literal for the lexer that works without a tree.
struct StringRule {
  std::string_view open;
  std::string_view close;
  bool multi_line = false;
  bool escapes = true;  // a backslash protects the next byte
};

/// Peculiarities of lexing, as bits.
enum LexQuirk : uint16_t {
  kRawCpp = 1 << 0,           // R"x(...)x"
  kRawRust = 1 << 1,          // r#"..."#
  kLifetimes = 1 << 2,        // 'a is no string
  kLongBrackets = 1 << 3,     // Lua's [==[ ]==], also as --[[ comment
  kRegexLiterals = 1 << 4,    // JavaScript's /.../
  kTemplates = 1 << 5,        // `...${code}...`
  kDigitSeparators = 1 << 6,  // 1'000
  kHashInWords = 1 << 7,      // the line comment's # only counts behind a blank (Bash, YAML)
  kNestedComments = 1 << 8,   // Rust's block comments nest
  kHeredocs = 1 << 9,         // <<WORD ... WORD
  kCasePatterns = 1 << 10,    // `pattern)` closes nothing
  kPlainScalars = 1 << 11,    // quotes and brackets only count where a value begins (YAML)
};

struct NodeKinds {
  uint16_t roles = 0;
  std::vector<std::string_view> kinds;
};

struct LanguageSpec {
  std::string_view name;
  std::vector<std::string_view> ids;         // LSP's languageId
  std::vector<std::string_view> extensions;  // with the dot, lower case
  std::vector<std::string_view> file_names;  // whole names, such as "CMakeLists.txt"
  const TSLanguage* (*grammar)() = nullptr;

  BlockStyle blocks = BlockStyle::kBrackets;
  std::string_view line_comment;
  std::string_view block_comment_open;
  std::string_view block_comment_close;
  std::vector<StringRule> strings;  // longer openers first
  uint16_t quirks = 0;

  /// Node kinds of the grammar and what they are.
  std::vector<NodeKinds> nodes;

  /// Words that may go on with a finished compound statement: else, catch.
  std::vector<std::string_view> continuing_words;
  /// kKeywords: words that open a block, close one, and separate two (else); and those directly
  /// behind which its statements begin (then).
  std::vector<std::string_view> opening_words;
  std::vector<std::string_view> closing_words;
  std::vector<std::string_view> middle_words;
  std::vector<std::string_view> body_words;
  /// kIndentation: words that begin a line which opens a block with a final colon; empty: any line.
  std::vector<std::string_view> header_words;
};

class Language {
 public:
  explicit Language(LanguageSpec spec);

  const LanguageSpec& spec() const { return spec_; }
  std::string_view name() const { return spec_.name; }
  const TSLanguage* grammar() const { return grammar_; }

  /// Roles of a grammar symbol; 0 for those without any.
  uint16_t roles(uint16_t symbol) const { return symbol < roles_.size() ? roles_[symbol] : 0; }

  /// Kinds of the spec that the grammar does not have (misspelt; a test wants none).
  std::vector<std::string_view> unknown_kinds() const;

 private:
  LanguageSpec spec_;
  const TSLanguage* grammar_;
  std::vector<uint16_t> roles_;  // by symbol
};

const std::vector<Language>& languages();
/// By LSP language id, then by path; null if unknown.
const Language* find_language(std::string_view language_id, std::string_view path);

}  // namespace fimd
