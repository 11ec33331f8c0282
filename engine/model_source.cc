#include "engine/model_source.h"

#include <filesystem>

#include "engine/gguf.h"
#include "engine/hf_directory.h"
#include "kernels/formats/dtype.h"

namespace fimd {

std::string ggml_type_name(uint32_t type) {
  if (const FormatInfo* format = find_format(type)) return format->name;
  switch (type) {
    case 3:
      return "Q4_1";
    case 7:
      return "Q5_1";
    case 9:
      return "Q8_1";
    case 10:
      return "Q2_K";
    case 11:
      return "Q3_K";
    case 15:
      return "Q8_K";
    case 16:
      return "IQ2_XXS";
    case 17:
      return "IQ2_XS";
    case 18:
      return "IQ3_XXS";
    case 19:
      return "IQ1_S";
    case 20:
      return "IQ4_NL";
    case 21:
      return "IQ3_S";
    case 22:
      return "IQ2_S";
    case 23:
      return "IQ4_XS";
    case 24:
      return "I8";
    case 25:
      return "I16";
    case 26:
      return "I32";
    case 27:
      return "I64";
    case 28:
      return "F64";
    case 29:
      return "IQ1_M";
    case 34:
      return "TQ1_0";
    case 35:
      return "TQ2_0";
    case 39:
      return "MXFP4";
    default:
      return "type " + std::to_string(type);
  }
}

std::string supported_quantizations() {
  return "use a file quantised as Q4_K_M, Q5_K_M, Q6_K, Q8_0 or Q4_0, or one in BF16, F16 or F32";
}

Result<std::unique_ptr<ModelSource>> open_model_source(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return open_hf_directory(path);
  FIMD_ASSIGN_OR_RETURN(auto file, GgufFile::open(path));
  return std::unique_ptr<ModelSource>(std::move(file));
}

}  // namespace fimd
