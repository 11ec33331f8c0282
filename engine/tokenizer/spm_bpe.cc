#include "engine/tokenizer/spm_bpe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "engine/tokenizer/bpe_tokenizer.h"
#include "engine/tokenizer/unicode.h"
#include "support/log.h"

namespace fimd {
namespace {

/// Longer tokens are never merged to: finding their parts takes quadratic time.
constexpr size_t kMaxMergedLength = 512;

struct Options {
  bool add_bos = true;
  bool add_space_prefix = true;
  bool split_on_space = false;
};

class SpmBpe : public BpeTokenizer {
 public:
  SpmBpe(Vocab made, MergeTable merges, bool ignore_merges, TokenId unknown, Options options)
      : BpeTokenizer(std::move(made), std::move(merges), ignore_merges, options.add_bos),
        unknown_(unknown),
        options_(options) {
    for (size_t c = 0; c < ascii_.size(); ++c) {
      const char byte = static_cast<char>(c);
      ascii_[c] = vocab().find({&byte, 1});
    }
    for (TokenId id = 0; id < vocab().size(); ++id) {
      const std::string_view bytes = vocab().bytes(id);
      for (size_t i = 1; i < bytes.size(); ++i) {
        if (bytes[i] == ' ' && bytes[i - 1] != ' ') cut_before_space_ = false;
      }
    }
  }

 protected:
  void encode_plain(std::string_view text, bool first, std::vector<TokenId>* ids) const override {
    if (first && options_.add_space_prefix) {
      std::string with_space(1, ' ');
      with_space += text;
      encode_pieces(with_space, ids);
    } else {
      encode_pieces(text, ids);
    }
  }

  void append_symbols(std::string_view piece, std::vector<TokenId>* symbols) const override {
    for (size_t pos = 0; pos < piece.size();) {
      const auto byte = static_cast<unsigned char>(piece[pos]);
      const size_t length = std::max<size_t>(1, utf8_length_at(piece, pos));
      const TokenId id = byte < 0x80 ? ascii_[byte] : vocab().find(piece.substr(pos, length));
      if (id != kNoToken) {
        symbols->push_back(id);
      } else if (vocab().byte_token(byte) == unknown_) {
        if (unknown_ != kNoToken) symbols->push_back(unknown_);
      } else {
        for (size_t i = 0; i < length; ++i) {
          const TokenId b = vocab().byte_token(static_cast<unsigned char>(piece[pos + i]));
          if (b != kNoToken) symbols->push_back(b);
        }
      }
      pos += length;
    }
  }

 private:
  /// Cuts where no merge can reach across, so that words are looked up whole and merging stays
  /// short.
  void encode_pieces(std::string_view text, std::vector<TokenId>* ids) const {
    size_t begin = 0;
    for (size_t pos = 1; pos < text.size(); ++pos) {
      if (text[pos] != ' ') continue;
      if (options_.split_on_space || (cut_before_space_ && text[pos - 1] != ' ')) {
        encode_piece(text.substr(begin, pos - begin), ids);
        begin = pos;
      }
    }
    if (begin < text.size()) encode_piece(text.substr(begin), ids);
  }

  TokenId unknown_;
  Options options_;
  std::array<TokenId, 128> ascii_{};
  bool cut_before_space_ = true;  // no token holds a space after something else
};

/// SentencePiece keeps no merges: any two neighbours merge if together they are a token, the best
/// score first.
MergeTable merges_from_scores(const std::vector<float>& scores, const Vocab& vocab) {
  const auto score = [&](TokenId id) {
    const float s = scores[static_cast<size_t>(id)];
    return std::isnan(s) ? -std::numeric_limits<float>::infinity() : s;
  };
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < vocab.size(); ++id) {
    const std::string_view text = vocab.bytes(id);
    if (text.size() > 1 && text.size() <= kMaxMergedLength && vocab.find(text) == id) {
      ids.push_back(id);
    }
  }
  std::stable_sort(ids.begin(), ids.end(),
                   [&](TokenId a, TokenId b) { return score(a) > score(b); });
  MergeTable table;
  uint32_t rank = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0 && score(ids[i]) != score(ids[i - 1])) ++rank;
    const std::string_view text = vocab.bytes(ids[i]);
    for (size_t cut = 1; cut < text.size(); ++cut) {
      if ((static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) continue;  // inside a character
      const TokenId left = vocab.find(text.substr(0, cut));
      if (left == kNoToken) continue;
      const TokenId right = vocab.find(text.substr(cut));
      if (right != kNoToken) table.add(left, right, rank, ids[i]);
    }
  }
  return table;
}

std::string with_spaces(std::string_view text) {
  std::string out;
  constexpr std::string_view kMark = "▁";
  while (!text.empty()) {
    const bool mark = text.starts_with(kMark);
    out += mark ? ' ' : text[0];
    text.remove_prefix(mark ? kMark.size() : 1);
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_spm_bpe(VocabData data) {
  const bool has_merges = !data.merges.empty() || !data.merge_pairs.empty();
  if (!has_merges && data.scores.empty()) {
    return Error{ErrorCode::kCorrupt, "vocabulary: neither scores nor merges"};
  }
  FIMD_ASSIGN_OR_RETURN(Vocab vocab, Vocab::make(&data));
  MergeTable merges;
  if (has_merges) {
    FIMD_ASSIGN_OR_RETURN(merges, read_merges(data, vocab, with_spaces));
  } else {
    merges = merges_from_scores(data.scores, vocab);
  }
  Options options;
  options.add_bos = data.add_bos.value_or(true);
  options.add_space_prefix = data.add_space_prefix.value_or(true);
  options.split_on_space = data.split_on_space;
  return std::unique_ptr<Tokenizer>(
      std::make_unique<SpmBpe>(std::move(vocab), std::move(merges), data.ignore_merges,
                               data.unknown.value_or(kNoToken), options));
}

}  // namespace fimd
