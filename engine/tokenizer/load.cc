#include "engine/tokenizer/load.h"

#include <utility>

#include "engine/tokenizer/byte_bpe.h"
#include "engine/tokenizer/spm_bpe.h"

namespace fimd {

Result<std::unique_ptr<Tokenizer>> make_tokenizer(VocabData data) {
  switch (data.model) {
    case VocabData::Model::kByteBpe:
      return make_byte_bpe(std::move(data));
    case VocabData::Model::kSpmBpe:
      return make_spm_bpe(std::move(data));
  }
  return Error{ErrorCode::kUnsupported, "unknown kind of tokenizer"};
}

}  // namespace fimd
