#include "engine/tokenizer/pretokenizer.h"

#include <algorithm>
#include <utility>

#include "engine/tokenizer/regex_splitter.h"
#include "engine/tokenizer/scanners.h"

namespace fimd {
namespace {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
    R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1})"
    R"(| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseekV3Words =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+"
    "|\\s+(?!\\S)|\\s+";

/// Letters as DeepSeek-LLM lists them: the cased scripts, by ranges.
constexpr std::string_view kDeepseekLlmLetters =
    R"(\s?[A-Za-z\xB5\xC0-\xD6\xD8-\xF6\xF8-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF})"
    R"(\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C})"
    R"(\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556})"
    R"(\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF})"
    R"(\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D})"
    R"(\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D})"
    R"(\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4})"
    R"(\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4})"
    R"(\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124})"
    R"(\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F})"
    R"(\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F})"
    R"(\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17})"
    R"(\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3})"
    R"(\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943}]+)";

std::vector<PreTokenizerRow> make_table() {
  std::vector<PreTokenizerRow> t;
  t.push_back({{"gpt-2", "phi-2", "mpt", "olmo", "jais", "mellum", "exaone4", "gigachat", "a.x-4.0",
                "modern-bert", "roberta-bpe", "jina-v2-code", "trillion", "granite-docling"},
               {kGpt2},
               make_gpt2_scanner});
  t.push_back({{"qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan", "kormo", "f2llmv2",
                "grok-2", "solar-open"},
               {kQwen2},
               make_qwen2_scanner});
  t.push_back({{"qwen35"}, {kQwen35}, make_qwen35_scanner});
  t.push_back({{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2",
                "midm-2.0", "dbrx", "smaug-bpe", "glm4", "chatglm-bpe"},
               {kLlama3},
               make_llama3_scanner});
  t.push_back({{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b",
                "mellum2"},
               {R"(\p{N})", kGpt2},
               make_starcoder_scanner});
  t.push_back({{"deepseek-coder"},
               {"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", "[一-龥ࠀ-一가-\uD7FF]+", R"(\p{N})"},
               make_deepseek_coder_scanner});
  t.push_back({{"deepseek-llm"},
               {"[\r\n]", kDeepseekLlmLetters, "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+", R"(\s+$)",
                "[一-龥ࠀ-一가-\uD7FF]+", R"(\p{N}+)"}});
  t.push_back({{"deepseek-v3", "hunyuan-dense", "joyai-llm"},
               {R"(\p{N}{1,3})", "[一-龥\u3040-ゟ゠-ヿ]+", kDeepseekV3Words}});
  t.push_back({{"seed-coder"}, {kSeedCoder}});
  t.push_back({{"tekken"}, {kTekken}});
  t.push_back({{"gpt-4o", "llama4", "kanana2", "minimax-m2"}, {kGpt4o}});
  t.push_back({{"falcon"}, {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, "[0-9][0-9][0-9]"}});
  t.push_back({{"default"}, {R"([\p{P}\$\+<=>\^\~\|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"}});
  return t;
}

const PreTokenizerRow* find_row(std::string_view name) {
  for (const PreTokenizerRow& row : pretokenizer_table()) {
    if (std::find(row.names.begin(), row.names.end(), name) != row.names.end()) return &row;
  }
  return nullptr;
}

class Whole : public PreTokenizer {
 public:
  void split(std::string_view text, size_t base, std::vector<size_t>* ends) const override {
    if (!text.empty()) ends->push_back(base + text.size());
  }
};

template <class Patterns>
Result<std::unique_ptr<PreTokenizer>> compile(const Patterns& patterns) {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (const auto& pattern : patterns) {
    FIMD_ASSIGN_OR_RETURN(auto step, make_regex_splitter(pattern));
    steps.push_back(std::move(step));
  }
  if (steps.empty()) return std::unique_ptr<PreTokenizer>(std::make_unique<Whole>());
  if (steps.size() == 1) return std::move(steps.front());
  return make_sequence(std::move(steps));
}

}  // namespace

std::span<const PreTokenizerRow> pretokenizer_table() {
  static const std::vector<PreTokenizerRow> table = make_table();
  return table;
}

std::string_view gpt2_pattern() { return kGpt2; }

PreTokenizerTraits pretokenizer_traits(std::string_view name) {
  // The rows share their patterns with models that do not share these.
  constexpr std::string_view kLlama3Like[] = {"llama-bpe", "llama3",   "llama-v3",
                                              "falcon3",   "pixtral",  "falcon-h1",
                                              "lfm2",      "midm-2.0", "tekken"};
  const bool llama3 =
      std::find(std::begin(kLlama3Like), std::end(kLlama3Like), name) != std::end(kLlama3Like);
  return {.ignore_merges = llama3, .add_bos = llama3};
}

Result<std::unique_ptr<PreTokenizer>> make_pretokenizer(std::string_view name) {
  const PreTokenizerRow* row = find_row(name);
  if (row == nullptr) {
    return Error{ErrorCode::kUnsupported, "unknown pre-tokenizer \"" + std::string(name) + "\""};
  }
  if (row->make_scanner != nullptr) return row->make_scanner();
  return compile(row->patterns);
}

Result<std::unique_ptr<PreTokenizer>> make_pretokenizer(std::span<const std::string> patterns) {
  for (const PreTokenizerRow& row : pretokenizer_table()) {
    if (row.make_scanner != nullptr &&
        std::equal(row.patterns.begin(), row.patterns.end(), patterns.begin(), patterns.end())) {
      return row.make_scanner();
    }
  }
  return compile(patterns);
}

Result<std::unique_ptr<PreTokenizer>> compile_pretokenizer(std::span<const std::string> patterns) {
  return compile(patterns);
}

}  // namespace fimd
