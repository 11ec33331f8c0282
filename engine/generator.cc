#include "engine/generator.h"

namespace fimd {

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEndOfText:
      return "end_of_text";
    case FinishReason::kStopText:
      return "stop_text";
    case FinishReason::kMaxTokens:
      return "max_tokens";
    case FinishReason::kStoppedBySink:
      return "stopped_by_sink";
    case FinishReason::kContextFull:
      return "context_full";
  }
  return "unknown";
}

}  // namespace fimd
