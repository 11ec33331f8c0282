#include "completion/fim_format.h"

#include <doctest/doctest.h>

#include <algorithm>

namespace fimd {
namespace {

ModelInfo model(std::string name, std::string architecture, std::vector<std::string> tokens) {
  ModelInfo info;
  info.name = std::move(name);
  info.architecture = std::move(architecture);
  info.control_tokens = std::move(tokens);
  return info;
}

PromptParts whole_parts() {
  PromptParts parts;
  parts.repository = "repo";
  parts.path = "src/cur.py";
  parts.snippets = {{"a.py", "A = 1\nAA = 2"}, {"b.py", "B = 2"}};
  parts.prefix = "import a\n";
  parts.typed = "x = ";
  parts.suffix = "\ny = 2\n";
  return parts;
}

const std::vector<std::string> kQwen = {"<|endoftext|>",  "<|im_end|>",     "<|fim_prefix|>",
                                        "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
                                        "<|repo_name|>",  "<|file_sep|>"};
const std::vector<std::string> kStar = {"<|endoftext|>", "<fim_prefix>", "<fim_middle>",
                                        "<fim_suffix>", "<fim_pad>"};

std::vector<std::string> with(std::vector<std::string> tokens, std::vector<std::string> more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

struct Family {
  const char* name;
  ModelInfo info;
  std::string whole;  // the prompt for whole_parts()
  std::string bare;   // without repository, path and snippets
};

std::vector<Family> families() {
  return {
      {"qwen-coder", model("fimd-small", "qwen2", kQwen),
       "<|repo_name|>repo\n<|file_sep|>a.py\nA = 1\nAA = 2\n<|file_sep|>b.py\nB = 2\n"
       "<|file_sep|>src/cur.py\n<|fim_prefix|>import a\n<|fim_suffix|>\ny = 2\n<|fim_middle|>x = ",
       "<|fim_prefix|>import a\n<|fim_suffix|>\ny = 2\n<|fim_middle|>x = "},
      {"codegemma",
       model("codegemma-2b", "gemma",
             {"<eos>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|file_separator|>"}),
       "a.py\nA = 1\nAA = 2<|file_separator|>b.py\nB = 2<|file_separator|>src/cur.py\n"
       "<|fim_prefix|>import a\n<|fim_suffix|>\ny = 2\n<|fim_middle|>x = ",
       "<|fim_prefix|>import a\n<|fim_suffix|>\ny = 2\n<|fim_middle|>x = "},
      {"granite-4",
       model("granite-4.0-h-tiny", "granitehybrid",
             {"<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
              "<|filename|>", "<|reponame|>"}),
       "<|fim_prefix|>import a\n<|fim_suffix|>\ny = 2\n<|fim_middle|>x = ",
       "<|fim_prefix|>import a\n<|fim_suffix|>\ny = 2\n<|fim_middle|>x = "},
      {"deepseek-coder",
       model("deepseek-coder-1.3b-base", "llama",
             {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", "<｜end▁of▁sentence｜>"}),
       "<｜fim▁begin｜>#a.py\nA = 1\nAA = 2\n#b.py\nB = 2\n#src/cur.py\nimport a\n"
       "<｜fim▁hole｜>\ny = 2\n<｜fim▁end｜>x = ",
       "<｜fim▁begin｜>import a\n<｜fim▁hole｜>\ny = 2\n<｜fim▁end｜>x = "},
      {"deepseek-coder-v2",
       model("DeepSeek-Coder-V2-Lite-Base", "deepseek2",
             {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}),
       "<｜fim▁begin｜>import a\n<｜fim▁hole｜>\ny = 2\n<｜fim▁end｜>x = ",
       "<｜fim▁begin｜>import a\n<｜fim▁hole｜>\ny = 2\n<｜fim▁end｜>x = "},
      {"codellama", model("CodeLlama-7b", "llama", {"▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"}),
       "▁<PRE>import a\n▁<SUF>\ny = 2\n▁<MID>x = ", "▁<PRE>import a\n▁<SUF>\ny = 2\n▁<MID>x = "},
      {"starcoder2",
       model("starcoder2-3b", "starcoder2", with(kStar, {"<repo_name>", "<file_sep>"})),
       "<repo_name>repo<file_sep>a.py\nA = 1\nAA = 2<file_sep>b.py\nB = 2<file_sep>"
       "<fim_prefix>src/cur.py\nimport a\n<fim_suffix>\ny = 2\n<fim_middle>x = ",
       "<fim_prefix>import a\n<fim_suffix>\ny = 2\n<fim_middle>x = "},
      {"starcoder", model("starcoderbase", "starcoder", with(kStar, {"<filename>", "<reponame>"})),
       "<fim_prefix>import a\n<fim_suffix>\ny = 2\n<fim_middle>x = ",
       "<fim_prefix>import a\n<fim_suffix>\ny = 2\n<fim_middle>x = "},
      {"starcoder", model("santacoder", "gpt2", {"<fim-prefix>", "<fim-middle>", "<fim-suffix>"}),
       "<fim-prefix>import a\n<fim-suffix>\ny = 2\n<fim-middle>x = ",
       "<fim-prefix>import a\n<fim-suffix>\ny = 2\n<fim-middle>x = "},
      {"granite-code", model("granite-3b-code-base", "llama", with(kStar, {"<filename>"})),
       "<fim_prefix>import a\n<fim_suffix>\ny = 2\n<fim_middle>x = ",
       "<fim_prefix>import a\n<fim_suffix>\ny = 2\n<fim_middle>x = "},
      {"stable-code", model("stable-code-3b", "stablelm", with(kStar, {"<filename>"})),
       "<fim_prefix>import a\n<fim_suffix>\ny = 2\n<fim_middle>x = ",
       "<fim_prefix>import a\n<fim_suffix>\ny = 2\n<fim_middle>x = "},
      {"mellum", model("Mellum-4b-base", "llama", with(kStar, {"<filename>", "<reponame>"})),
       "<filename>a.py\nA = 1\nAA = 2\n<filename>b.py\nB = 2\n<filename>src/cur.py\n"
       "<fim_suffix>\ny = 2\n<fim_prefix>import a\n<fim_middle>x = ",
       "<fim_suffix>\ny = 2\n<fim_prefix>import a\n<fim_middle>x = "},
      {"codestral", model("Codestral-22B", "llama", {"<s>", "</s>", "[PREFIX]", "[SUFFIX]"}),
       "[SUFFIX]\ny = 2\n[PREFIX]+++++ a.py\nA = 1\nAA = 2\n+++++ b.py\nB = 2\n"
       "+++++ src/cur.py\nimport a\nx = ",
       "[SUFFIX]\ny = 2\n[PREFIX]import a\nx = "},
      {"seed-coder",
       model("Seed-Coder-8B-Base", "llama",
             {"<[fim-suffix]>", "<[fim-prefix]>", "<[fim-middle]>", "<[end▁of▁sentence]>"}),
       "<[fim-suffix]>\ny = 2\n<[fim-prefix]>import a\n<[fim-middle]>x = ",
       "<[fim-suffix]>\ny = 2\n<[fim-prefix]>import a\n<[fim-middle]>x = "},
      {"plain", model("llama-3", "llama", {"<|eot_id|>", "<|end_of_text|>"}),
       "import a\nx = ", "import a\nx = "},
  };
}

TEST_CASE("every family's prompt, with and without other files") {
  for (const Family& family : families()) {
    CAPTURE(family.name);
    CAPTURE(family.info.name);
    const FimFormat format = choose_fim_format(family.info);
    CHECK(format.name == family.name);
    CHECK(spell_out(render_prompt(format, whole_parts())) == family.whole);
    PromptParts parts = whole_parts();
    parts.repository.clear();
    parts.path.clear();
    parts.snippets.clear();
    CHECK(spell_out(render_prompt(format, parts)) == family.bare);
  }
}

TEST_CASE("every family of the table is tested") {
  for (std::string_view name : fim_families()) {
    CAPTURE(std::string(name));
    const auto all = families();
    CHECK(std::any_of(all.begin(), all.end(), [&](const Family& f) { return f.name == name; }));
  }
}

TEST_CASE("control segments and stop tokens are ones the model has") {
  for (const Family& family : families()) {
    CAPTURE(family.name);
    const FimFormat format = choose_fim_format(family.info);
    const auto& known = family.info.control_tokens;
    const auto has = [&](const std::string& token) {
      return std::find(known.begin(), known.end(), token) != known.end();
    };
    for (const PromptSegment& segment : render_prompt(format, whole_parts())) {
      if (segment.kind == PromptSegment::Kind::kControl) {
        CHECK(has(segment.text));
      } else {
        CHECK_FALSE(segment.text.empty());
      }
    }
    for (const std::string& stop : format.stop_controls) CHECK(has(stop));
    CHECK_FALSE(format.stop_controls.empty());
  }
}

TEST_CASE("no two text segments follow each other") {
  for (const Family& family : families()) {
    const Prompt prompt = render_prompt(choose_fim_format(family.info), whole_parts());
    for (size_t i = 1; i < prompt.size(); ++i) {
      const bool two_texts = prompt[i].kind == PromptSegment::Kind::kText &&
                             prompt[i - 1].kind == PromptSegment::Kind::kText;
      CHECK_FALSE(two_texts);
    }
  }
}

TEST_CASE("typing on the line only appends to the prompt") {
  for (const Family& family : families()) {
    CAPTURE(family.name);
    const FimFormat format = choose_fim_format(family.info);
    PromptParts parts = whole_parts();
    const std::string before = spell_out(render_prompt(format, parts));
    parts.typed += "fo";
    CHECK(spell_out(render_prompt(format, parts)) == before + "fo");
  }
}

TEST_CASE("a prompt without typed text ends in the middle marker, or in the prefix") {
  PromptParts parts = whole_parts();
  parts.typed.clear();
  const FimFormat qwen = choose_fim_format(model("fimd-small", "qwen2", kQwen));
  CHECK_FALSE(ends_in_text(render_prompt(qwen, parts)));
  CHECK(render_prompt(qwen, parts).back() == control_segment("<|fim_middle|>"));
  const FimFormat plain = choose_fim_format(model("x", "llama", {}));
  CHECK(ends_in_text(render_prompt(plain, parts)));
  CHECK(render_prompt(plain, PromptParts{}).empty());
}

TEST_CASE("a begin-of-text token comes first where the model wants one") {
  ModelInfo info = model("CodeLlama-7b", "llama", {"<s>", "<PRE>", "<SUF>", "<MID>", "<EOT>"});
  info.add_bos = true;
  info.bos_token = "<s>";
  const Prompt prompt = render_prompt(choose_fim_format(info), whole_parts());
  CHECK(prompt.front() == control_segment("<s>"));
  CHECK(prompt[1] == control_segment("<PRE>"));
}

TEST_CASE("a file that spells a control token stays text") {
  PromptParts parts;
  parts.prefix = "s = '<|fim_middle|>'\n";
  parts.typed = "<|file_sep|>";
  const Prompt prompt =
      render_prompt(choose_fim_format(model("fimd-small", "qwen2", kQwen)), parts);
  CHECK(std::count(prompt.begin(), prompt.end(), control_segment("<|fim_middle|>")) == 1);
  CHECK(prompt.back() == text_segment("<|file_sep|>"));
}

}  // namespace
}  // namespace fimd
