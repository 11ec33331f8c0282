#include "engine/gguf.h"

#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include "kernels/formats/dtype.h"

namespace fimd {

static_assert(std::endian::native == std::endian::little, "GGUF is read in place");

namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr int64_t kMaxDim = int64_t{1} << 40;
constexpr uint64_t kMaxNameBytes = 65535;

// Value types of metadata.
enum : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

/// Bytes of one value of a scalar type; 0 for strings, arrays and unknown types.
size_t scalar_bytes(uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kF32:
      return 4;
    case kU64:
    case kI64:
    case kF64:
      return 8;
    default:
      return 0;
  }
}

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

std::optional<int64_t> load_integer(uint32_t type, const std::byte* p) {
  switch (type) {
    case kU8:
      return load<uint8_t>(p);
    case kI8:
      return load<int8_t>(p);
    case kU16:
      return load<uint16_t>(p);
    case kI16:
      return load<int16_t>(p);
    case kU32:
      return load<uint32_t>(p);
    case kI32:
      return load<int32_t>(p);
    case kI64:
      return load<int64_t>(p);
    case kU64: {
      const auto value = load<uint64_t>(p);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> load_real(uint32_t type, const std::byte* p) {
  if (type == kF32) return load<float>(p);
  if (type == kF64) return load<double>(p);
  const auto integer = load_integer(type, p);
  if (!integer) return std::nullopt;
  return static_cast<double>(*integer);
}

std::string quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) {
    out += c >= 0x20 && c < 0x7f ? c : '?';
  }
  if (text.size() > kShown) out += "...";
  return out + "'";
}

}  // namespace

/// A cursor over the file; every read is checked.
struct GgufFile::Reader {
  std::span<const std::byte> bytes;
  size_t at = 0;

  size_t left() const { return bytes.size() - at; }

  template <class T>
  bool read(T* value) {
    if (left() < sizeof(T)) return false;
    *value = load<T>(bytes.data() + at);
    at += sizeof(T);
    return true;
  }

  bool skip(uint64_t n) {
    if (n > left()) return false;
    at += static_cast<size_t>(n);
    return true;
  }

  bool string(std::string_view* value) {
    uint64_t length = 0;
    if (!read(&length) || length > left()) return false;
    *value = {reinterpret_cast<const char*>(bytes.data() + at), static_cast<size_t>(length)};
    at += static_cast<size_t>(length);
    return true;
  }
};

Result<std::unique_ptr<GgufFile>> GgufFile::open(const std::string& path) {
  std::unique_ptr<GgufFile> file(new GgufFile);
  file->name_ = path;
  FIMD_ASSIGN_OR_RETURN(file->file_, MappedFile::open(path));
  file->bytes_ = file->file_.bytes();
  FIMD_RETURN_IF_ERROR(file->read_all());
  return file;
}

Result<std::unique_ptr<GgufFile>> GgufFile::parse(std::span<const std::byte> bytes,
                                                  std::string name) {
  std::unique_ptr<GgufFile> file(new GgufFile);
  file->name_ = std::move(name);
  file->bytes_ = bytes;
  FIMD_RETURN_IF_ERROR(file->read_all());
  return file;
}

GgufFile::~GgufFile() = default;

Error GgufFile::corrupt(const std::string& what) const {
  return {ErrorCode::kCorrupt, "'" + name_ + "' is not a valid GGUF file: " + what +
                                   "; it may be incomplete, download it again"};
}

Status GgufFile::read_all() {
  Reader in{bytes_};
  uint32_t magic = 0;
  uint32_t version = 0;
  uint64_t tensor_count = 0;
  uint64_t metadata_count = 0;
  if (!in.read(&magic) || magic != kMagic) {
    return Error{ErrorCode::kCorrupt,
                 "'" + name_ +
                     "' is not a GGUF file (it does not begin with \"GGUF\"); fimd loads "
                     "models in GGUF format"};
  }
  if (!in.read(&version)) return corrupt("the header is cut short");
  if (version == 0x02000000 || version == 0x03000000) {
    return Error{ErrorCode::kUnsupported,
                 "'" + name_ + "' is a big-endian GGUF file; fimd reads little-endian ones"};
  }
  if (version != 2 && version != 3) {
    return Error{ErrorCode::kUnsupported, "'" + name_ + "' has GGUF version " +
                                              std::to_string(version) +
                                              "; fimd reads versions 2 and 3"};
  }
  version_ = static_cast<int>(version);
  if (!in.read(&tensor_count) || !in.read(&metadata_count)) {
    return corrupt("the header is cut short");
  }
  FIMD_RETURN_IF_ERROR(read_metadata(in, metadata_count));

  FIMD_ASSIGN_OR_RETURN(const int64_t split_count, integer_or("split.count", 1));
  if (split_count > 1) {
    return Error{ErrorCode::kUnsupported,
                 "'" + name_ + "' is one of " + std::to_string(split_count) +
                     " parts of a split model; fimd needs one file: join the parts with "
                     "`llama-gguf-split --merge FIRST-PART OUTPUT`"};
  }
  FIMD_RETURN_IF_ERROR(read_tensor_infos(in, tensor_count));

  FIMD_ASSIGN_OR_RETURN(const int64_t alignment, integer_or("general.alignment", 32));
  constexpr int64_t kMaxAlignment = 1 << 20;
  if (alignment < 8 || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0) {
    return corrupt("general.alignment is " + std::to_string(alignment));
  }
  const size_t padding = (static_cast<size_t>(alignment) - in.at % static_cast<size_t>(alignment)) %
                         static_cast<size_t>(alignment);
  if (!in.skip(padding) && !tensors_.empty()) return corrupt("the tensor data is missing");
  return place_tensors(in.at, static_cast<uint64_t>(alignment));
}

Status GgufFile::read_metadata(Reader& in, uint64_t count) {
  // A pair takes at least a key length, a type and one byte.
  if (count > in.left() / 13) return corrupt("it promises more metadata than the file can hold");
  metadata_.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) {
    std::string_view key;
    Value value;
    if (!in.string(&key) || !in.read(&value.type)) return corrupt("the metadata is cut short");
    if (key.empty() || key.size() > kMaxNameBytes)
      return corrupt("a metadata key is empty or huge");
    uint32_t element_type = value.type;
    uint64_t n = 1;
    if (value.type == kArray) {
      if (!in.read(&element_type) || !in.read(&n)) return corrupt("the metadata is cut short");
      value.element_type = element_type;
      value.count = n;
    }
    value.offset = in.at;
    if (element_type == kString) {
      if (n > in.left() / sizeof(uint64_t)) {
        return corrupt("the array " + quoted(key) + " is longer than the file");
      }
      std::string_view ignored;
      for (uint64_t k = 0; k < n; ++k) {
        if (!in.string(&ignored)) return corrupt("the value of " + quoted(key) + " is cut short");
      }
    } else {
      const size_t size = scalar_bytes(element_type);
      if (size == 0) {
        return corrupt("the value of " + quoted(key) + " has unknown type " +
                       std::to_string(element_type));
      }
      if (n > in.left() / size) {
        return corrupt("the value of " + quoted(key) + " is cut short");
      }
      in.at += static_cast<size_t>(n) * size;
    }
    if (!metadata_.emplace(key, value).second) {
      return corrupt("the metadata key " + quoted(key) + " appears twice");
    }
  }
  return {};
}

Status GgufFile::read_tensor_infos(Reader& in, uint64_t count) {
  // A tensor takes at least a name length, dimensions, a type and an offset.
  if (count > in.left() / 32) return corrupt("it promises more tensors than the file can hold");
  tensors_.reserve(static_cast<size_t>(count));
  tensor_offsets_.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) {
    ModelTensor tensor;
    uint32_t n_dims = 0;
    if (!in.string(&tensor.name) || !in.read(&n_dims))
      return corrupt("the tensor list is cut short");
    if (tensor.name.empty() || tensor.name.size() > kMaxNameBytes) {
      return corrupt("a tensor name is empty or huge");
    }
    if (n_dims < 1 || n_dims > tensor.dims.size()) {
      return corrupt("tensor " + quoted(tensor.name) + " has " + std::to_string(n_dims) +
                     " dimensions");
    }
    tensor.n_dims = static_cast<int>(n_dims);
    int64_t elements = 1;
    for (uint32_t d = 0; d < n_dims; ++d) {
      uint64_t dim = 0;
      if (!in.read(&dim)) return corrupt("the tensor list is cut short");
      if (dim < 1 || dim > static_cast<uint64_t>(kMaxDim) ||
          elements > kMaxDim / static_cast<int64_t>(dim)) {
        return corrupt("tensor " + quoted(tensor.name) + " has impossible dimensions");
      }
      tensor.dims[d] = static_cast<int64_t>(dim);
      elements *= tensor.dims[d];
    }
    uint64_t offset = 0;
    if (!in.read(&tensor.type) || !in.read(&offset)) return corrupt("the tensor list is cut short");
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
      return corrupt("tensor " + quoted(tensor.name) + " appears twice");
    }
    tensors_.push_back(tensor);
    tensor_offsets_.push_back(offset);
  }
  return {};
}

Status GgufFile::place_tensors(size_t data_offset, uint64_t alignment) {
  const uint64_t data_bytes = bytes_.size() - data_offset;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    ModelTensor& tensor = tensors_[i];
    const uint64_t offset = tensor_offsets_[i];
    if (offset % alignment != 0) {
      return corrupt("tensor " + quoted(tensor.name) + " is not aligned");
    }
    if (offset > data_bytes) {
      return corrupt("tensor " + quoted(tensor.name) + " lies beyond the end of the file");
    }
    const FormatInfo* format = find_format(tensor.type);
    if (format == nullptr) continue;  // an error only if the model turns out to need it
    if (tensor.dims[0] % format->block_elements != 0) {
      return corrupt("rows of tensor " + quoted(tensor.name) + " are not whole " +
                     std::string(format->name) + " blocks");
    }
    // elements() <= 2^40 and a block has at most 2^9 bytes: no overflow.
    const uint64_t size = static_cast<uint64_t>(tensor.elements() / format->block_elements) *
                          static_cast<uint64_t>(format->block_bytes);
    if (size > data_bytes - offset) {
      return corrupt("tensor " + quoted(tensor.name) + " is cut short");
    }
    tensor.data = bytes_.data() + data_offset + offset;
    tensor.bytes = static_cast<size_t>(size);
  }
  tensor_offsets_ = {};
  return {};
}

const ModelTensor* GgufFile::tensor(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

bool GgufFile::has(std::string_view key) const { return metadata_.contains(key); }

bool GgufFile::is_array(std::string_view key) const {
  const auto it = metadata_.find(key);
  return it != metadata_.end() && it->second.type == kArray;
}

Result<GgufFile::Value> GgufFile::find(std::string_view key) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) {
    return Error{ErrorCode::kNotFound, "'" + name_ + "' has no metadata " + quoted(key)};
  }
  return it->second;
}

Error GgufFile::wrong_type(std::string_view key, const char* wanted) const {
  return {ErrorCode::kCorrupt,
          "'" + name_ + "': metadata " + quoted(key) + " is not " + wanted + " that fits"};
}

Result<int64_t> GgufFile::integer(std::string_view key) const {
  FIMD_ASSIGN_OR_RETURN(const Value value, find(key));
  const auto result = load_integer(value.type, bytes_.data() + value.offset);
  if (!result) return wrong_type(key, "an integer");
  return *result;
}

Result<double> GgufFile::real(std::string_view key) const {
  FIMD_ASSIGN_OR_RETURN(const Value value, find(key));
  const auto result = load_real(value.type, bytes_.data() + value.offset);
  if (!result) return wrong_type(key, "a number");
  return *result;
}

Result<bool> GgufFile::boolean(std::string_view key) const {
  FIMD_ASSIGN_OR_RETURN(const Value value, find(key));
  if (value.type == kBool) return load<uint8_t>(bytes_.data() + value.offset) != 0;
  const auto result = load_integer(value.type, bytes_.data() + value.offset);
  if (!result) return wrong_type(key, "a boolean");
  return *result != 0;
}

Result<std::string_view> GgufFile::string(std::string_view key) const {
  FIMD_ASSIGN_OR_RETURN(const Value value, find(key));
  if (value.type != kString) return wrong_type(key, "a string");
  Reader in{bytes_, value.offset};
  std::string_view text;
  if (!in.string(&text)) return wrong_type(key, "a string");
  return text;
}

Result<GgufFile::Value> GgufFile::find_array(std::string_view key) const {
  FIMD_ASSIGN_OR_RETURN(const Value value, find(key));
  if (value.type != kArray) return wrong_type(key, "an array");
  return value;
}

Result<std::vector<std::string_view>> GgufFile::strings(std::string_view key) const {
  FIMD_ASSIGN_OR_RETURN(const Value value, find_array(key));
  if (value.element_type != kString) return wrong_type(key, "an array of strings");
  Reader in{bytes_, value.offset};
  std::vector<std::string_view> result(static_cast<size_t>(value.count));
  for (auto& text : result) {
    if (!in.string(&text)) return wrong_type(key, "an array of strings");
  }
  return result;
}

Result<std::vector<int64_t>> GgufFile::integers(std::string_view key) const {
  FIMD_ASSIGN_OR_RETURN(const Value value, find_array(key));
  const size_t size = scalar_bytes(value.element_type);
  std::vector<int64_t> result;
  if (size == 0) return wrong_type(key, "an array of integers");
  result.reserve(static_cast<size_t>(value.count));
  for (uint64_t i = 0; i < value.count; ++i) {
    const auto one = load_integer(value.element_type, bytes_.data() + value.offset + i * size);
    if (!one) return wrong_type(key, "an array of integers");
    result.push_back(*one);
  }
  return result;
}

Result<std::vector<float>> GgufFile::reals(std::string_view key) const {
  FIMD_ASSIGN_OR_RETURN(const Value value, find_array(key));
  const size_t size = scalar_bytes(value.element_type);
  std::vector<float> result;
  if (size == 0) return wrong_type(key, "an array of numbers");
  result.reserve(static_cast<size_t>(value.count));
  for (uint64_t i = 0; i < value.count; ++i) {
    const auto one = load_real(value.element_type, bytes_.data() + value.offset + i * size);
    if (!one) return wrong_type(key, "an array of numbers");
    result.push_back(static_cast<float>(*one));
  }
  return result;
}

}  // namespace fimd
