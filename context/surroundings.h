// Surroundings: what is open at a cursor, from the text before it.
//
// The tree gives a place before the cursor that is surely code, together with the brackets open
// there; a lexer reads from there to the cursor, for that part is half-typed more often than not.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "context/document.h"
#include "context/lexer.h"
#include "context/syntax_queries.h"

namespace fimd {

struct Surroundings {
  size_t anchor = 0;           // code; lexing from here on tells everything below
  BracketStack anchor_stack;   // open at the anchor
  BracketStack brackets;       // open at the cursor
  Place place = Place::kCode;  // the lexer's opinion
  size_t place_begin = 0;      // where the string or comment began
  std::optional<Token> last;   // last token before the cursor that is no comment
  size_t logical_line = 0;     // first token of the line that `last` is on, where a line goes on
                               // over the brackets it opens
};

/// `offset` must be within the text.
Surroundings surroundings_of(const Document& document, size_t offset);

/// Whether the brace at `offset` delimits statements or members (not an object literal).
bool is_block_brace(const Document& document, size_t offset);

}  // namespace fimd
