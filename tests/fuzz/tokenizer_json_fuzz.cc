// tokenizer.json, and a text encoded by whatever it describes.
#include <cstdint>
#include <string_view>

#include "engine/tokenizer/load.h"
#include "support/log.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fimd;
  log::set_level(log::Level::kOff);
  const auto made = parse_tokenizer_json({reinterpret_cast<const char*>(data), size});
  if (!made.ok()) return 0;
  std::vector<TokenId> ids;
  (*made)->encode("he said: <tool> \xff 12  34\n\t字 it's", &ids);
  for (const TokenId id : ids) (void)(*made)->bytes(id);
  (void)(*made)->compatible_with("he");
  return 0;
}
