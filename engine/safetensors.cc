#include "engine/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

namespace fimd {

static_assert(std::endian::native == std::endian::little, "safetensors are read in place");

namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr int64_t kMaxElements = int64_t{1} << 40;

struct TypeRow {
  const char* name;
  int bytes;  // of one element
  std::optional<DType> type;
};
constexpr TypeRow kTypes[] = {
    {"BF16", 2, DType::kBF16},
    {"F16", 2, DType::kF16},
    {"F32", 4, DType::kF32},
    {"F64", 8, {}},
    {"I64", 8, {}},
    {"U64", 8, {}},
    {"I32", 4, {}},
    {"U32", 4, {}},
    {"I16", 2, {}},
    {"U16", 2, {}},
    {"I8", 1, {}},
    {"U8", 1, {}},
    {"BOOL", 1, {}},
    {"F8_E4M3", 1, {}},
    {"F8_E5M2", 1, {}},
};

/// A list of `n` unsigned numbers below 2^63, or nothing.
std::optional<std::vector<int64_t>> numbers(const Json& value, size_t most) {
  if (!value.is_array() || value.size() > most) return std::nullopt;
  std::vector<int64_t> result;
  for (const Json& item : value) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() > uint64_t{INT64_MAX}) {
      return std::nullopt;
    }
    result.push_back(item.get<int64_t>());
  }
  return result;
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  SafetensorsFile result;
  FIMD_ASSIGN_OR_RETURN(result.file_, MappedFile::open(path));
  FIMD_RETURN_IF_ERROR(result.read(result.file_.bytes(), path));
  return result;
}

Result<SafetensorsFile> SafetensorsFile::parse(std::span<const std::byte> bytes,
                                               const std::string& name) {
  SafetensorsFile result;
  FIMD_RETURN_IF_ERROR(result.read(bytes, name));
  return result;
}

Status SafetensorsFile::read(std::span<const std::byte> bytes, const std::string& name) {
  const auto bad = [&](const std::string& what) {
    return Error{ErrorCode::kCorrupt, "'" + name + "' is not a valid safetensors file: " + what +
                                          "; it may be incomplete, download it again"};
  };
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes) return bad("it is too short");
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - sizeof header_bytes) {
    return bad("its header is longer than the file");
  }
  const auto* text = reinterpret_cast<const char*>(bytes.data() + sizeof header_bytes);
  const Json header = Json::parse(text, text + header_bytes, nullptr, false);
  if (!header.is_object()) return bad("its header is not a JSON object");
  const auto data = bytes.subspan(sizeof header_bytes + static_cast<size_t>(header_bytes));

  for (const auto& [key, entry] : header.items()) {
    if (key == "__metadata__") continue;
    const std::string shown = "tensor '" + key.substr(0, 80) + "'";
    const auto field = [&](const char* member) -> const Json& {
      static const Json none;
      if (!entry.is_object()) return none;
      const auto it = entry.find(member);
      return it == entry.end() ? none : *it;
    };
    if (!field("dtype").is_string()) return bad(shown + " has no dtype");
    Safetensor tensor;
    tensor.name = key;
    tensor.type_name = field("dtype").get<std::string>().substr(0, 20);
    const auto* row = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeRow& type) {
      return tensor.type_name == type.name;
    });
    constexpr size_t kMaxDims = 8;
    const auto shape = numbers(field("shape"), kMaxDims);
    const auto offsets = numbers(field("data_offsets"), 2);
    if (!shape) return bad(shown + " has an impossible shape");
    if (!offsets || offsets->size() != 2 || (*offsets)[0] > (*offsets)[1] ||
        static_cast<uint64_t>((*offsets)[1]) > data.size()) {
      return bad(shown + " lies outside the file");
    }
    const int64_t size = (*offsets)[1] - (*offsets)[0];
    int64_t elements = 1;
    for (const int64_t dim : *shape) {
      if (dim > kMaxElements || (dim > 0 && elements > kMaxElements / dim)) {
        return bad(shown + " has an impossible shape");
      }
      elements *= dim;
    }
    if (row != std::end(kTypes)) {
      if (elements * row->bytes != size) {
        return bad(shown + " has " + std::to_string(size) + " bytes, its shape needs " +
                   std::to_string(elements * row->bytes));
      }
      tensor.type = row->type;
    }
    tensor.shape = *shape;
    tensor.data = data.subspan(static_cast<size_t>((*offsets)[0]), static_cast<size_t>(size));
    tensors_.push_back(std::move(tensor));
  }
  return {};
}

}  // namespace fimd
