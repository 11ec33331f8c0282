// LineMode: whether a request is worth answering, and with one line or several. Pure functions of
// the document and the cursor, any thread.
#pragma once

#include <string_view>

#include "completion/cursor_context.h"
#include "context/document.h"

namespace fimd {

enum class LineMode {
  kSingle,     // up to the end of the line
  kStatement,  // the statement that begins here, of however many lines
  kBlock,      // the whole block that begins here
};

struct LineDecision {
  /// False: an automatic request here would only disturb.
  bool worthwhile = true;
  LineMode mode = LineMode::kSingle;
  std::string_view reason;  // for the log and `--explain`
};

struct LineModeOptions {
  bool multi_line = true;
  bool invoked = false;  // asked for: never refused
};

LineDecision decide_line_mode(const Document& document, size_t cursor, const CursorContext& context,
                              const LineModeOptions& options);

}  // namespace fimd
