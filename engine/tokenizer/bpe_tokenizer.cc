#include "engine/tokenizer/bpe_tokenizer.h"

#include <utility>

#include "support/log.h"

namespace fimd {

BpeTokenizer::BpeTokenizer(Vocab vocab, MergeTable merges, bool ignore_merges, bool add_bos)
    : vocab_(std::move(vocab)),
      merges_(std::move(merges)),
      ignore_merges_(ignore_merges),
      add_bos_(add_bos),
      itself_(std::make_unique<std::atomic<Itself>[]>(static_cast<size_t>(vocab_.size()))) {}

void BpeTokenizer::encode(std::string_view text, std::vector<TokenId>* ids) const {
  if (!vocab_.has_user_defined()) {
    if (!text.empty()) encode_plain(text, true, ids);
    return;
  }
  for (size_t pos = 0; pos < text.size();) {
    const Vocab::Found found = vocab_.next_user_defined(text, pos);
    if (found.begin > pos) encode_plain(text.substr(pos, found.begin - pos), pos == 0, ids);
    if (found.length > 0) ids->push_back(found.id);
    pos = found.begin + found.length;
  }
}

void BpeTokenizer::encode_piece(std::string_view piece, std::vector<TokenId>* ids) const {
  const TokenId whole = vocab_.find(piece);
  if (whole != kNoToken && (ignore_merges_ || encodes_to_itself(whole))) {
    ids->push_back(whole);
    return;
  }
  const size_t before = ids->size();
  append_symbols(piece, ids);
  ids->resize(before + merges_.apply(ids->data() + before, ids->size() - before));
}

bool BpeTokenizer::encodes_to_itself(TokenId id) const {
  std::atomic<Itself>& known = itself_[static_cast<size_t>(id)];
  Itself itself = known.load(std::memory_order_relaxed);
  if (itself == Itself::kUnknown) {
    std::vector<TokenId> symbols;
    append_symbols(vocab_.bytes(id), &symbols);
    const size_t n = merges_.apply(symbols.data(), symbols.size());
    itself = n == 1 && symbols[0] == id ? Itself::kYes : Itself::kNo;
    known.store(itself, std::memory_order_relaxed);
  }
  return itself == Itself::kYes;
}

Result<MergeTable> read_merges(const VocabData& data, const Vocab& vocab,
                               std::string (*to_bytes)(std::string_view)) {
  const size_t n = data.merges.empty() ? data.merge_pairs.size() : data.merges.size();
  if (n >= MergeTable::kNoMerge) return Error{ErrorCode::kCorrupt, "vocabulary: too many merges"};
  MergeTable table;
  table.reserve(n);
  size_t unusable = 0;
  for (size_t i = 0; i < n; ++i) {
    std::string_view left;
    std::string_view right;
    if (data.merges.empty()) {
      left = data.merge_pairs[i].first;
      right = data.merge_pairs[i].second;
    } else {
      const std::string_view both = data.merges[i];
      const size_t space = both.find(' ', 1);
      if (space == std::string_view::npos || space + 1 == both.size()) {
        return Error{ErrorCode::kCorrupt,
                     "vocabulary: merge " + std::to_string(i) + " is not two parts"};
      }
      left = both.substr(0, space);
      right = both.substr(space + 1);
    }
    const std::string left_bytes = to_bytes(left);
    const std::string right_bytes = to_bytes(right);
    const TokenId a = vocab.find(left_bytes);
    const TokenId b = vocab.find(right_bytes);
    const TokenId result = vocab.find(left_bytes + right_bytes);
    if (a == kNoToken || b == kNoToken || result == kNoToken) {
      ++unusable;
    } else {
      table.add(a, b, static_cast<uint32_t>(i), result);
    }
  }
  if (unusable > 0) {
    log::warn("vocabulary: {} of {} merges are not of tokens and are ignored", unusable, n);
  }
  return table;
}

}  // namespace fimd
