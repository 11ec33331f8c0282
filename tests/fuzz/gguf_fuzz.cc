// Model files: the container, the metadata, the tokenizer and the description of the model.
#include <cstdint>
#include <span>

#include "engine/gguf.h"
#include "engine/gguf_vocab.h"
#include "engine/model_spec.h"
#include "support/log.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fimd;
  log::set_level(log::Level::kOff);
  const auto file = GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file.ok()) return 0;
  for (const ModelTensor& tensor : (*file)->tensors()) {
    if (tensor.data == nullptr || tensor.bytes == 0) continue;
    // The first and the last byte must be there.
    const volatile auto first = tensor.data[0];
    const volatile auto last = tensor.data[tensor.bytes - 1];
    (void)first;
    (void)last;
  }
  (void)(*file)->integer("general.alignment");
  (void)(*file)->string("general.architecture");
  (void)(*file)->strings("tokenizer.ggml.tokens");
  (void)(*file)->reals("tokenizer.ggml.scores");
  (void)read_model_spec(**file);
  if (const auto tokenizer = load_gguf_tokenizer(**file); tokenizer.ok()) {
    std::vector<TokenId> ids;
    (*tokenizer)->encode("int main() { return 0; }\n\xff 字", &ids);
    for (const TokenId id : ids) (void)(*tokenizer)->bytes(id);
  }
  return 0;
}
