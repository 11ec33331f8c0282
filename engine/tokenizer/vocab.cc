#include "engine/tokenizer/vocab.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/special_tokens.h"
#include "engine/tokenizer/unicode.h"

namespace fimd {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;
constexpr std::string_view kSpaceMark = "▁";  // what SentencePiece writes for a space

uint64_t load64(const char* p) {
  uint64_t x = 0;
  std::memcpy(&x, p, 8);
  return x;
}

uint64_t load_up_to_8(const char* p, size_t n) {
  if (n == 8) return load64(p);
  if (n >= 4) {
    uint32_t a = 0;
    uint32_t b = 0;
    std::memcpy(&a, p, 4);
    std::memcpy(&b, p + n - 4, 4);
    return (uint64_t{a} << 32) | b;
  }
  const auto at = [p](size_t i) { return uint64_t{static_cast<unsigned char>(p[i])}; };
  return n == 0 ? 0 : (at(0) << 16) | (at(n / 2) << 8) | at(n - 1);
}

uint64_t hash_bytes(std::string_view s) {
  constexpr uint64_t kMul = 0x9E3779B97F4A7C15U;
  const auto mix = [](uint64_t h, uint64_t x) {
    h = (h ^ x) * kMul;
    return h ^ (h >> 29);
  };
  uint64_t h = kMul * (s.size() + 1);
  const char* p = s.data();
  size_t n = s.size();
  for (; n > 8; p += 8, n -= 8) h = mix(h, load64(p));
  h = mix(h, load_up_to_8(p, n)) * kMul;
  return h ^ (h >> 32);
}

/// The byte that "<0x0A>" names, -1 if `text` is not of that form.
int named_byte(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  };
  const int high = digit(text[3]);
  const int low = digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string unescape_spaces(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const size_t mark = std::min(text.find(kSpaceMark, pos), text.size());
    out.append(text, pos, mark - pos);
    if (mark == text.size()) break;
    out += ' ';
    pos = mark + kSpaceMark.size();
  }
  return out;
}

/// First 8 bytes as a number that orders as they do.
uint64_t order_key(std::string_view s) {
  uint64_t key = 0;
  for (size_t i = 0; i < 8; ++i) {
    key = (key << 8) | (i < s.size() ? static_cast<unsigned char>(s[i]) : 0);
  }
  return key;
}

}  // namespace

Result<Vocab> Vocab::make(VocabData* data) {
  const auto corrupt = [](std::string what) {
    return Error{ErrorCode::kCorrupt, "vocabulary: " + std::move(what)};
  };
  const size_t n = data->tokens.size();
  if (n == 0) return corrupt("it has no tokens");
  if (n > kMaxTokens) return corrupt("it has " + std::to_string(n) + " tokens");
  if (!data->types.empty() && data->types.size() != n) {
    return corrupt(std::to_string(data->types.size()) + " token types for " + std::to_string(n) +
                   " tokens");
  }
  if (!data->scores.empty() && data->scores.size() != n) {
    return corrupt(std::to_string(data->scores.size()) + " scores for " + std::to_string(n) +
                   " tokens");
  }

  Vocab v;
  v.types_ = data->types;
  v.types_.resize(n, TokenType::kNormal);
  v.bos_ = data->bos;

  std::vector<TokenId> ends = data->end_ids;
  if (data->eos) ends.push_back(*data->eos);
  ends.insert(ends.end(), data->fim_ids.begin(), data->fim_ids.end());
  std::vector<TokenId> named = ends;
  if (data->bos) named.push_back(*data->bos);
  for (const TokenId id : named) {
    if (!v.valid(id)) return corrupt("special token id " + std::to_string(id) + " is out of range");
    TokenType& type = v.types_[static_cast<size_t>(id)];
    if (type == TokenType::kNormal || type == TokenType::kUserDefined) type = TokenType::kControl;
  }
  if (data->unknown && !v.valid(*data->unknown)) {
    return corrupt("unknown token id " + std::to_string(*data->unknown) + " is out of range");
  }

  const bool byte_level = data->model == VocabData::Model::kByteBpe;
  v.starts_.reserve(n + 1);
  for (size_t i = 0; i < n; ++i) {
    std::string& text = data->tokens[i];
    const auto id = static_cast<TokenId>(i);
    TokenType& type = v.types_[i];
    if (type < TokenType::kNormal || type > TokenType::kByte) type = TokenType::kNormal;
    if (is_control_text(text)) type = TokenType::kControl;
    if (type == TokenType::kByte && named_byte(text) < 0) type = TokenType::kNormal;
    v.starts_.push_back(v.arena_.size());
    if (type != TokenType::kUnused) v.generable_size_ = id + 1;
    switch (type) {
      case TokenType::kControl:
        if (ends_generation(text)) ends.push_back(id);
        v.special_.emplace(std::move(text), id);
        break;
      case TokenType::kUnknown:
      case TokenType::kUnused:
        break;
      case TokenType::kByte:
        v.arena_ += static_cast<char>(named_byte(text));
        break;
      case TokenType::kUserDefined:
        v.arena_ += byte_level ? text : unescape_spaces(text);
        v.special_.emplace(std::move(text), id);
        break;
      case TokenType::kNormal:
        v.arena_ += byte_level ? decode_byte_level(text) : unescape_spaces(text);
        break;
    }
  }
  v.starts_.push_back(v.arena_.size());
  for (const char* text : {"<s>", "<bos>", "<|begin_of_text|>", "<｜begin▁of▁sentence｜>"}) {
    if (!v.bos_) v.bos_ = v.control_id(text);
  }
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  v.ends_ = std::move(ends);
  data->tokens = {};

  v.build_index();
  v.build_byte_tokens(*data);
  v.build_user_defined();
  return v;
}

void Vocab::build_index() {
  std::vector<TokenId> normal;
  std::vector<TokenId> all;
  for (TokenId id = 0; id < size(); ++id) {
    if (bytes(id).empty()) continue;  // not what text encodes to
    all.push_back(id);
    if (type(id) == TokenType::kByte) continue;
    normal.push_back(id);
    max_length_ = std::max(max_length_, bytes(id).size());
  }
  // Of tokens of the same text the first normal one is found.
  std::stable_partition(normal.begin(), normal.end(),
                        [&](TokenId id) { return type(id) == TokenType::kNormal; });
  slots_.assign(std::bit_ceil(normal.size() * 2 + 16), Slot{});
  const size_t mask = slots_.size() - 1;
  for (const TokenId id : normal) {
    if (find_slot(bytes(id)) != kNoToken) continue;
    const uint64_t h = hash_bytes(bytes(id));
    size_t i = h & mask;
    while (slots_[i].id != kNoToken) i = (i + 1) & mask;
    slots_[i] = {static_cast<uint32_t>(h >> 32), id};
  }
  sorted_ = sort_by_bytes(std::move(all));
}

TokenId Vocab::find_slot(std::string_view text) const {
  const uint64_t h = hash_bytes(text);
  const auto tag = static_cast<uint32_t>(h >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t i = h & mask;; i = (i + 1) & mask) {
    const Slot slot = slots_[i];
    if (slot.id == kNoToken) return kNoToken;
    if (slot.tag == tag && bytes(slot.id) == text) return slot.id;
  }
}

void Vocab::build_byte_tokens(const VocabData& data) {
  byte_tokens_.fill(kNoToken);
  if (data.model == VocabData::Model::kByteBpe) {
    for (int b = 0; b < 256; ++b) {
      const char c = static_cast<char>(b);
      byte_tokens_[static_cast<size_t>(b)] = find({&c, 1});
    }
  }
  for (TokenId id = 0; id < size(); ++id) {
    if (type(id) != TokenType::kByte) continue;
    TokenId& slot = byte_tokens_[static_cast<unsigned char>(bytes(id)[0])];
    if (slot == kNoToken) slot = id;
  }
  if (data.unknown) {
    std::replace(byte_tokens_.begin(), byte_tokens_.end(), kNoToken, *data.unknown);
  }
}

std::vector<TokenId> Vocab::sort_by_bytes(std::vector<TokenId> ids) const {
  std::vector<std::pair<uint64_t, TokenId>> keyed;
  keyed.reserve(ids.size());
  for (const TokenId id : ids) keyed.emplace_back(order_key(bytes(id)), id);
  std::sort(keyed.begin(), keyed.end(), [this](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first < b.first;
    const int order = bytes(a.second).compare(bytes(b.second));
    return order != 0 ? order < 0 : a.second < b.second;
  });
  std::transform(keyed.begin(), keyed.end(), ids.begin(), [](const auto& k) { return k.second; });
  return ids;
}

void Vocab::build_user_defined() {
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < size(); ++id) {
    if (type(id) == TokenType::kUserDefined && !bytes(id).empty()) ids.push_back(id);
  }
  user_defined_ = sort_by_bytes(std::move(ids));
  for (const TokenId id : user_defined_) {
    ++user_defined_at_[static_cast<unsigned char>(bytes(id)[0]) + size_t{1}];
  }
  for (size_t b = 1; b < user_defined_at_.size(); ++b) {
    user_defined_at_[b] += user_defined_at_[b - 1];
  }
}

Vocab::Found Vocab::next_user_defined(std::string_view text, size_t pos) const {
  for (; pos < text.size(); ++pos) {
    const auto first = static_cast<unsigned char>(text[pos]);
    auto lo = user_defined_.begin() + user_defined_at_[first];
    auto hi = user_defined_.begin() + user_defined_at_[first + size_t{1}];
    // [lo, hi) begin with the `depth` bytes at pos; the one that is no longer comes first.
    Found found{.begin = pos, .length = 0, .id = kNoToken};
    for (size_t depth = 1; lo != hi; ++depth) {
      if (bytes(*lo).size() == depth) {
        found.length = depth;
        found.id = *lo;
        lo = std::find_if(lo, hi, [&](TokenId id) { return bytes(id).size() > depth; });
      }
      if (pos + depth >= text.size()) break;
      const auto byte = static_cast<unsigned char>(text[pos + depth]);
      const auto at_depth = [&](TokenId id) {
        return static_cast<unsigned char>(bytes(id)[depth]);
      };
      lo = std::partition_point(lo, hi, [&](TokenId id) { return at_depth(id) < byte; });
      hi = std::partition_point(lo, hi, [&](TokenId id) { return at_depth(id) == byte; });
    }
    if (found.length > 0) return found;
  }
  return {.begin = text.size(), .length = 0, .id = kNoToken};
}

std::optional<TokenId> Vocab::control_id(std::string_view name) const {
  const auto it = special_.find(std::string(name));
  if (it == special_.end()) return std::nullopt;
  return it->second;
}

std::vector<std::string> Vocab::control_tokens() const {
  std::vector<std::pair<TokenId, std::string>> found;
  for (const auto& [text, id] : special_) {
    if (type(id) == TokenType::kControl) found.emplace_back(id, text);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> texts;
  texts.reserve(found.size());
  for (auto& [id, text] : found) texts.push_back(std::move(text));
  return texts;
}

std::vector<TokenId> Vocab::compatible_with(std::string_view prefix) const {
  std::vector<TokenId> ids;
  // Tokens of equal bytes are neighbours, so each question is a range of sorted_.
  const auto before = [this](TokenId id, std::string_view text) { return bytes(id) < text; };
  auto begin = sorted_.begin();
  const size_t longest = std::min(prefix.size(), max_length_ + 1);
  for (size_t length = 1; length < longest; ++length) {
    const std::string_view head = prefix.substr(0, length);
    begin = std::lower_bound(begin, sorted_.end(), head, before);
    for (auto it = begin; it != sorted_.end() && bytes(*it) == head; ++it) ids.push_back(*it);
  }
  begin = std::lower_bound(begin, sorted_.end(), prefix, before);
  const auto end = std::partition_point(begin, sorted_.end(),
                                        [&](TokenId id) { return bytes(id).starts_with(prefix); });
  ids.insert(ids.end(), begin, end);
  return ids;
}

}  // namespace fimd
