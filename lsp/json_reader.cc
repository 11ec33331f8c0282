#include "lsp/json_reader.h"

#include <algorithm>

namespace fimd::lsp {
namespace {

Status unsigned_at(const Json& json, const std::string& where, uint32_t* out) {
  if (!json.is_number_integer() ||
      (json.is_number_integer() && !json.is_number_unsigned() && json.get<int64_t>() < 0)) {
    return Error{ErrorCode::kInvalidArgument, where + " must be a non-negative integer"};
  }
  // Clients send 2^31 - 1 or more for "the end of the line".
  *out = static_cast<uint32_t>(std::min<uint64_t>(json.get<uint64_t>(), UINT32_MAX));
  return {};
}

}  // namespace

Status Reader::decode_at(const Json& json, const std::string& where, Position* out) {
  Reader reader(json, where);
  const Json* line = reader.need("line");
  const Json* character = reader.need("character");
  if (line != nullptr) reader.merge(unsigned_at(*line, reader.name("line"), &out->line));
  if (character != nullptr) {
    reader.merge(unsigned_at(*character, reader.name("character"), &out->character));
  }
  return reader.status();
}

Status Reader::decode_at(const Json& json, const std::string& where, Range* out) {
  Reader reader(json, where);
  reader.object("start", &out->start);
  reader.object("end", &out->end);
  return reader.status();
}

}  // namespace fimd::lsp
