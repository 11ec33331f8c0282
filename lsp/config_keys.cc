// The table of configuration keys: one row is all it takes to add a key.
#include <algorithm>
#include <array>
#include <cctype>
#include <numeric>

#include "lsp/config.h"

namespace fimd::lsp {
namespace {

constexpr auto kBool = ConfigType::kBool;
constexpr auto kInt = ConfigType::kInt;
constexpr auto kNumber = ConfigType::kNumber;
constexpr auto kString = ConfigType::kString;
constexpr auto kList = ConfigType::kList;

constexpr auto kKeys = std::to_array<ConfigKey>({
    {"model.path", kString, "\"\"", 0, 0, "",
     "The model: a .gguf file, or a directory with config.json and safetensors. Empty: the "
     "model that comes with fimd."},
    {"engine.backend", kString, "\"auto\"", 0, 0, "auto cuda cpu",
     "What computes: `cuda` (an NVIDIA GPU), `cpu`, or `auto`: a GPU if one can be "
     "used and the model is not small."},
    {"engine.threads", kInt, "0", 0, 256, "", "CPU threads. 0: one per physical core."},
    {"engine.kv_cache_mb", kInt, "0", 0, 262144, "",
     "Memory for cached prompts of all documents, in MiB. 0: 512, on a GPU from what is free."},
    {"engine.kv_type", kString, "\"f16\"", 0, 0, "f16 q8",
     "How keys and values are kept: `f16`, or on a GPU `q8`, 8-bit codes, for 1.7 times as many "
     "tokens in the same memory."},
    {"engine.state_cache_mb", kInt, "0", 0, 262144, "",
     "Memory for states of recurrent layers to resume prompts from, in MiB. 0: as much as "
     "`kv_cache_mb`, and at least eight states; on a GPU from what is free. Only hybrid models "
     "take "
     "it."},
    {"engine.context_length", kInt, "0", 0, 1048576, "",
     "Longest prompt and answer, in tokens. 0: as long as the model allows."},
    {"engine.prefill_chunk", kInt, "0", 0, 8192, "",
     "Prompt tokens computed between two looks at newer requests, at most. 0: 128, on a GPU 2048."},
    {"completion.enabled", kBool, "true", 0, 0, "", "Suggest anything at all."},
    {"completion.multi_line", kBool, "true", 0, 0, "",
     "Suggest several lines where the syntax calls for them."},
    {"completion.max_tokens_single_line", kInt, "48", 1, 1024, "",
     "Longest suggestion of one line, in tokens."},
    {"completion.max_tokens_multi_line", kInt, "192", 1, 4096, "",
     "Longest suggestion of several lines, in tokens."},
    {"completion.candidates", kInt, "3", 1, 10, "",
     "Suggestions offered when the editor asks explicitly."},
    {"completion.prefix_tokens", kInt, "0", 0, 1048576, "",
     "Tokens of text before the cursor in a prompt. 0: from the context length."},
    {"completion.suffix_tokens", kInt, "0", 0, 1048576, "",
     "Tokens of text after the cursor in a prompt. 0: from the context length."},
    {"completion.snippet_tokens", kInt, "0", 0, 1048576, "",
     "Tokens of other open files in a prompt. 0: from the context length."},
    {"completion.snippets", kBool, "true", 0, 0, "", "Put text of other open files into prompts."},
    {"completion.speculate", kBool, "true", 0, 0, "",
     "Compute the next suggestion while one is shown, as if it were accepted."},
    {"completion.prefill_on_change", kBool, "true", 0, 0, "",
     "Start on the prompt at every change, before the editor asks."},
    {"completion.typing_through", kBool, "true", 0, 0, "",
     "Answer text typed as suggested without asking the model again."},
    {"completion.min_mean_logprob", kNumber, "-1.2", -100, 0, "",
     "Suggest nothing unasked whose tokens are less likely on average (natural logarithm)."},
    {"completion.beam_width", kInt, "4", 1, 16, "",
     "Texts that are weighed against each other for a line, if the model is quick. 1: none."},
    {"completion.timeout_ms", kInt, "5000", 50, 600000, "",
     "Answer with what is there after that long."},
    {"completion.exclude", kList, "[]", 0, 0, "",
     "Globs of files that are never read, besides `.env*`, keys and certificates."},
    {"editor.completion_menu", kString, "\"auto\"", 0, 0, "auto on off",
     "Answer textDocument/completion too. `auto`: if the editor knows no inline completion."},
    {"editor.status", kString, "\"auto\"", 0, 0, "auto on off",
     "Send fimd/status and didChangeStatus. `auto`: to editors that show or ignore them."},
    {"editor.code_actions", kString, "\"auto\"", 0, 0, "auto on off",
     "Offer commands as code actions. `auto`: to editors that can show what they answer."},
    {"editor.reports", kBool, "false", 0, 0, "",
     "Send fimd/report with the cost of every inline completion."},
    {"daemon.socket", kString, "\"\"", 0, 0, "",
     "The daemon's socket. Empty: `$XDG_RUNTIME_DIR/fimd/fimd.sock`."},
    {"daemon.idle_timeout_minutes", kInt, "60", 0, 100000, "",
     "The daemon ends that long after its last editor left. 0: never."},
    {"log.level", kString, "\"info\"", 0, 0, "trace debug info warn error off",
     "What is logged. Your text is logged at `trace` only."},
    {"log.file", kString, "\"\"", 0, 0, "",
     "The daemon's log. Empty: `$XDG_STATE_HOME/fimd/daemon.log`."},
});

const char* type_name(ConfigType type) {
  switch (type) {
    case kBool:
      return "true or false";
    case kInt:
      return "integer";
    case kNumber:
      return "number";
    case kString:
      return "string";
    case kList:
      return "list of strings";
  }
  return "";
}

// Levenshtein distance with transpositions of neighbours.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  std::iota(d[0].begin(), d[0].end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min(
          {d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::span<const ConfigKey> config_keys() { return kKeys; }

std::string environment_name(std::string_view key) {
  std::string out = "FIMD_";
  for (const char c : key) {
    out += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return out;
}

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  if (word.size() > 200) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    size_t distance = edit_distance(word, candidate);
    // A key written without its section, or in the wrong one, is as good as a spelling mistake.
    const std::string_view last = std::string_view(candidate).substr(candidate.rfind('.') + 1);
    const std::string_view word_last = word.substr(word.rfind('.') + 1);
    if (last.size() > 3 && last.size() != candidate.size()) {
      distance = std::min(distance, edit_distance(word_last, last) + 1);
    }
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string config_markdown() {
  std::string out;
  std::string section;
  for (const ConfigKey& key : kKeys) {
    const std::string name = key.name;
    const std::string this_section = name.substr(0, name.find('.'));
    if (this_section != section) {
      section = this_section;
      out += "\n### `[" + section + "]`\n\n| key | type | default | meaning |\n|---|---|---|---|\n";
    }
    std::string type = type_name(key.type);
    if (key.type == kInt || key.type == kNumber) {
      type += ", " + std::to_string(key.min) + " to " + std::to_string(key.max);
    }
    if (*key.choices != '\0') {
      type = "one of";
      std::string_view rest = key.choices;
      while (!rest.empty()) {
        const size_t space = rest.find(' ');
        type += " `" + std::string(rest.substr(0, space)) + "`";
        rest = space == rest.npos ? "" : rest.substr(space + 1);
      }
    }
    out += "| `" + name.substr(name.find('.') + 1) + "` | " + type + " | `" + key.initial + "` | " +
           key.description + " |\n";
  }
  return out.substr(1);
}

}  // namespace fimd::lsp
