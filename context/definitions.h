// Which code is meant by a place in a file, and where its documentation belongs.
//
// Pure functions of a document, any thread. Without a syntax tree they say that nothing is there.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "context/document.h"
#include "support/result.h"

namespace fimd {

/// A piece of code: bytes [begin, end), from the first to behind the last character of its own.
struct CodeRegion {
  std::string name;  // of the definition; "" if it is none
  size_t begin = 0;
  size_t end = 0;
};

/// The innermost function or class that holds `offset`, with its decorators and the like; else the
/// statement at the top level (or right inside a namespace). On the blanks before a line's first
/// character, that character counts. Absent on a blank line at the top level.
std::optional<CodeRegion> code_around(const Document& document, size_t offset);

/// How a language writes documentation.
enum class DocStyle {
  kDocstring,    // Python: """...""" as the body's first statement
  kBlock,        // /** ... */ above
  kTripleSlash,  // /// above
  kSlashes,      // // above (Go)
  kDashes,       // --- above (Lua)
  kHash,         // # above (shells)
};

/// Where the documentation of a definition stands or would stand. Bytes [begin, end) are what is
/// there, whole lines; where nothing is, begin == end, at the start of a line.
struct DocPlace {
  DocStyle style = DocStyle::kBlock;
  CodeRegion code;     // what is documented, without its documentation
  std::string indent;  // of the documentation's lines
  size_t begin = 0;
  size_t end = 0;

  bool documented() const { return begin < end; }
};

/// For the first definition that begins on a line of [begin, end], else the innermost around
/// `begin`. kNotFound: there is no definition; kUnsupported: the language documents in no way that
/// is known, or the definition has no place for it (a function on one line in Python).
Result<DocPlace> doc_place(const Document& document, size_t begin, size_t end);

}  // namespace fimd
