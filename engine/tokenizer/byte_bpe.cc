#include "engine/tokenizer/byte_bpe.h"

#include <utility>

#include "engine/tokenizer/bpe_tokenizer.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/pretokenizer.h"
#include "support/log.h"

namespace fimd {
namespace {

class ByteBpe : public BpeTokenizer {
 public:
  ByteBpe(Vocab vocab, MergeTable merges, std::unique_ptr<PreTokenizer> pre, bool ignore_merges,
          bool add_bos, bool add_space_prefix)
      : BpeTokenizer(std::move(vocab), std::move(merges), ignore_merges, add_bos),
        pre_(std::move(pre)),
        add_space_prefix_(add_space_prefix) {}

 protected:
  void encode_plain(std::string_view text, bool first, std::vector<TokenId>* ids) const override {
    if (first && add_space_prefix_ && text[0] != ' ') {
      std::string with_space(1, ' ');
      with_space += text;
      encode_pieces(with_space, ids);
    } else {
      encode_pieces(text, ids);
    }
  }

  void append_symbols(std::string_view piece, std::vector<TokenId>* symbols) const override {
    for (const char c : piece) {
      const TokenId id = vocab().byte_token(static_cast<unsigned char>(c));
      if (id != kNoToken) symbols->push_back(id);
    }
  }

 private:
  void encode_pieces(std::string_view text, std::vector<TokenId>* ids) const {
    std::vector<size_t> ends;
    ends.reserve(text.size() / 3 + 8);
    pre_->split(text, 0, &ends);
    size_t begin = 0;
    for (const size_t end : ends) {
      encode_piece(text.substr(begin, end - begin), ids);
      begin = end;
    }
  }

  std::unique_ptr<PreTokenizer> pre_;
  bool add_space_prefix_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_byte_bpe(VocabData data) {
  if (data.pre.empty() && data.pre_patterns.empty()) {
    log::warn("the model does not name its pre-tokenizer; using \"default\", which may be wrong");
    data.pre = "default";
  }
  std::unique_ptr<PreTokenizer> pre;
  if (data.pre.empty()) {
    FIMD_ASSIGN_OR_RETURN(pre, make_pretokenizer(data.pre_patterns));
  } else {
    FIMD_ASSIGN_OR_RETURN(pre, make_pretokenizer(data.pre));
  }
  FIMD_ASSIGN_OR_RETURN(Vocab vocab, Vocab::make(&data));
  FIMD_ASSIGN_OR_RETURN(MergeTable merges, read_merges(data, vocab, decode_byte_level));
  int missing = 0;
  for (int b = 0; b < 256; ++b) {
    if (vocab.byte_token(static_cast<unsigned char>(b)) == kNoToken) ++missing;
  }
  if (missing > 0) {
    log::warn("vocabulary: {} bytes have no token; they are dropped from text", missing);
  }
  const PreTokenizerTraits traits = pretokenizer_traits(data.pre);
  return std::unique_ptr<Tokenizer>(std::make_unique<ByteBpe>(
      std::move(vocab), std::move(merges), std::move(pre),
      data.ignore_merges || traits.ignore_merges, data.add_bos.value_or(traits.add_bos),
      data.add_space_prefix.value_or(false)));
}

}  // namespace fimd
