#include "completion/prompt_builder.h"

#include <random>

#include "completion/text_util.h"
#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::ScriptedGenerator;

size_t count(std::string_view text) { return (text.size() + 3) / 4; }

DocumentPtr lines_document(size_t n, size_t width = 30) {
  std::string text;
  for (size_t i = 0; i < n; ++i) {
    std::string line = "value_" + std::to_string(i) + " = compute(";
    while (line.size() < width) line += "x";
    text += line + ")\n";
  }
  return Document::open("file:///project/src/a.py", "python", 1, text);
}

DocumentPtr edited(const DocumentPtr& document, size_t at, const std::string& text) {
  const Position position = document->position_at(at, PositionEncoding::kUtf8);
  auto changed = document->apply({{Range{position, position}, text}}, 2, PositionEncoding::kUtf8);
  REQUIRE(changed.ok());
  return *changed;
}

const PromptBudget kBudget{300, 100, 100, 600};

TEST_CASE("windows keep to their budgets and to whole lines") {
  const DocumentPtr document = lines_document(400);
  for (size_t line : {0U, 1U, 10U, 50U, 200U, 399U, 400U}) {
    CAPTURE(line);
    const size_t cursor = document->line_start(line);
    const PromptWindows windows = prompt_windows(*document, cursor, kBudget, count);
    CHECK(windows.typed_begin == cursor);
    CHECK(document->line_start(document->line_of(windows.prefix_begin)) == windows.prefix_begin);
    const bool whole_lines =
        windows.suffix_end == document->text().size() ||
        document->line_start(document->line_of(windows.suffix_end)) == windows.suffix_end;
    CHECK(whole_lines);
    CHECK(cursor - windows.prefix_begin <= kBudget.prefix * 4);
    CHECK(windows.suffix_end - cursor <= kBudget.suffix * 4);
    // Most of the budget is used where there is text.
    if (cursor > 2000) CHECK((cursor - windows.prefix_begin) * 2 > kBudget.prefix * 4);
  }
}

TEST_CASE("a small document is there whole") {
  const DocumentPtr document = lines_document(5);
  const size_t cursor = document->line_start(3) + 4;
  const PromptWindows windows = prompt_windows(*document, cursor, kBudget, count);
  CHECK(windows.prefix_begin == 0);
  CHECK(windows.suffix_end == document->text().size());
}

TEST_CASE("typing on a line moves neither window") {
  DocumentPtr document = lines_document(300);
  size_t cursor = document->line_end(200);
  const PromptWindows before = prompt_windows(*document, cursor, kBudget, count);
  for (char c : std::string(" + more_text_than_usual(a, b)")) {
    document = edited(document, cursor, std::string(1, c));
    ++cursor;
    const PromptWindows now = prompt_windows(*document, cursor, kBudget, count);
    CHECK(now.prefix_begin == before.prefix_begin);
    CHECK(now.typed_begin == before.typed_begin);
    CHECK(document->text().size() - now.suffix_end ==
          lines_document(300)->text().size() - before.suffix_end);
  }
}

TEST_CASE("typing lines moves the prefix rarely, and the suffix never") {
  DocumentPtr document = lines_document(300);
  size_t cursor = document->line_start(150);
  size_t moves = 0;
  size_t begin = prompt_windows(*document, cursor, kBudget, count).prefix_begin;
  const size_t after =
      document->text().size() - prompt_windows(*document, cursor, kBudget, count).suffix_end;
  const size_t n = 60;
  for (size_t i = 0; i < n; ++i) {
    const std::string line = "typed_" + std::to_string(i) + " = something(else)\n";
    document = edited(document, cursor, line);
    cursor += line.size();
    const PromptWindows now = prompt_windows(*document, cursor, kBudget, count);
    CHECK(now.prefix_begin >= begin);
    moves += now.prefix_begin != begin ? 1 : 0;
    begin = now.prefix_begin;
    CHECK(document->text().size() - now.suffix_end == after);
  }
  CHECK(moves >= 2);
  CHECK(moves <= n / 6);
}

TEST_CASE("a new line only adds to the typed part, until a group of lines is full") {
  PromptBudget budget = kBudget;
  budget.group_lines = 8;
  DocumentPtr document = lines_document(300);
  size_t cursor = document->line_start(150);
  PromptWindows before = prompt_windows(*document, cursor, budget, count);
  CHECK(document->line_of(before.typed_begin) == 144);
  size_t moves = 0;
  for (size_t i = 0; i < 40; ++i) {
    const std::string line = "typed_" + std::to_string(i) + " = something(else)\n";
    document = edited(document, cursor, line);
    cursor += line.size();
    const PromptWindows now = prompt_windows(*document, cursor, budget, count);
    CHECK(document->line_of(now.typed_begin) == document->line_of(cursor) / 8 * 8);
    if (now.typed_begin != before.typed_begin) {
      ++moves;
    } else {
      CHECK(now.prefix_begin == before.prefix_begin);
    }
    before = now;
  }
  CHECK(moves == 5);
  // The first group stays in the prefix.
  CHECK(prompt_windows(*document, document->line_start(3), budget, count).typed_begin ==
        document->line_start(3));
  // A group longer than the prefix may be is not kept together.
  const DocumentPtr wide = lines_document(40, 500);
  CHECK(prompt_windows(*wide, wide->line_start(15), budget, count).typed_begin ==
        wide->line_start(15));
}

TEST_CASE("long lines are cut, in steps") {
  const std::string line(1 << 20, 'x');
  const DocumentPtr document = Document::open("file:///project/a.py", "python", 1, line);
  const size_t cursor = line.size() / 2;
  const PromptWindows windows = prompt_windows(*document, cursor, kBudget, count);
  CHECK(windows.typed_begin < cursor);
  CHECK(cursor - windows.typed_begin <= kBudget.prefix);
  CHECK(windows.prefix_begin == windows.typed_begin);
  CHECK(windows.suffix_end > cursor);
  CHECK(windows.suffix_end - cursor <= kBudget.suffix);
  const DocumentPtr typed = edited(document, cursor, "abc");
  const PromptWindows now = prompt_windows(*typed, cursor + 3, kBudget, count);
  CHECK(now.typed_begin == windows.typed_begin);
  CHECK(now.suffix_end == windows.suffix_end + 3);
}

TEST_CASE("windows of any document hold their invariants") {
  std::mt19937 random(7);
  const std::string pieces[] = {
      "a",    "é",           "😀",  "\n", "\r\n",
      "    ", "def f(x):\n", "()", "\r", "a long identifier and more words "};
  for (int round = 0; round < 300; ++round) {
    std::string text;
    const size_t n = random() % 200;
    for (size_t i = 0; i < n; ++i) text += pieces[random() % std::size(pieces)];
    if (round % 7 == 0) text += std::string(random() % 3000, 'y');
    const DocumentPtr document = Document::open("file:///project/a.py", "python", 1, text);
    const size_t cursor = random() % (text.size() + 1);
    const PromptBudget budget{random() % 200, random() % 80, 0, 400, round % 2 == 0 ? 8U : 1U};
    const PromptWindows windows = prompt_windows(*document, cursor, budget, count);
    const size_t floor = floor_to_code_point(text, cursor);
    CHECK(windows.prefix_begin <= windows.typed_begin);
    CHECK(windows.typed_begin <= floor);
    CHECK(floor <= windows.suffix_end);
    CHECK(windows.suffix_end <= text.size());
    for (size_t at : {windows.prefix_begin, windows.typed_begin, windows.suffix_end}) {
      CHECK(floor_to_code_point(text, at) == at);
    }
  }
}

TEST_CASE("budgets fit every context") {
  ModelInfo info = ScriptedGenerator().info();
  const FimFormat format = choose_fim_format(info);
  for (int context : {0, 64, 256, 2048, 32768}) {
    for (bool snippets : {false, true}) {
      for (int asked : {0, 100, 100000}) {
        CAPTURE(context);
        info.context_length = context;
        CompletionOptions options;
        options.snippets = snippets;
        options.prefix_tokens = asked;
        const PromptBudget budget = prompt_budget(info, format, options);
        CHECK(budget.prefix + budget.suffix + budget.snippets <= budget.total);
        CHECK(budget.prefix > 0);
        if (context > 0) CHECK(budget.total < static_cast<size_t>(context));
        if (!snippets) CHECK(budget.snippets == 0);
      }
    }
  }
  info.context_length = 2048;
  CompletionOptions options;
  const PromptBudget usual = prompt_budget(info, format, options);
  CHECK(usual.total == 2048 - 192);
  CHECK(usual.prefix > usual.suffix * 2);
  const FimFormat plain = choose_fim_format(ModelInfo{});
  CHECK(prompt_budget(info, plain, options).suffix == 0);
}

TEST_CASE("the prompt of a document in a workspace") {
  Workspace workspace;
  workspace.set_folders({"/project"});
  const DocumentPtr document = workspace.open("file:///project/src/a.py", "python", 1,
                                              "import os\r\nx = os.pa\r\ny = 2\r\n");
  const Exclusion exclusion;
  Gatherer gatherer(&workspace, &exclusion);
  PromptBuilder builder(&workspace, &gatherer);
  const ScriptedGenerator generator;
  const FimFormat format = choose_fim_format(generator.info());
  const size_t cursor = document->line_end(1);
  const BuiltPrompt built = builder.build(document, cursor, generator, format, {});
  CHECK(spell_out(built.prompt) ==
        "<|repo_name|>project\n<|file_sep|>src/a.py\n<|fim_prefix|>import os\n"
        "<|fim_suffix|>\ny = 2\n<|fim_middle|>x = os.pa");
  CHECK(built.heal);
  const BuiltPrompt at_start =
      builder.build(document, document->line_start(1), generator, format, {});
  CHECK_FALSE(at_start.heal);
}

TEST_CASE("documents of no size") {
  Workspace workspace;
  const Exclusion exclusion;
  Gatherer gatherer(&workspace, &exclusion);
  PromptBuilder builder(&workspace, &gatherer);
  const ScriptedGenerator generator;
  const FimFormat format = choose_fim_format(generator.info());
  const DocumentPtr empty = Document::open("untitled:1", "python", 1, "");
  const BuiltPrompt built = builder.build(empty, 0, generator, format, {});
  CHECK(spell_out(built.prompt).find("<|fim_prefix|><|fim_suffix|><|fim_middle|>") !=
        std::string::npos);
  const DocumentPtr one = Document::open("untitled:2", "python", 1, "x");
  for (size_t cursor : {0U, 1U, 5U}) {
    const std::string prompt = spell_out(builder.build(one, cursor, generator, format, {}).prompt);
    CHECK(prompt.find(cursor == 0 ? "<|fim_suffix|>x<|fim_middle|>" : "<|fim_middle|>x") !=
          std::string::npos);
  }
}

TEST_CASE("a prompt never outgrows the model's context") {
  Workspace workspace;
  workspace.set_folders({"/project"});
  const Exclusion exclusion;
  Gatherer gatherer(&workspace, &exclusion);
  PromptBuilder builder(&workspace, &gatherer);
  ScriptedGenerator generator;
  const FimFormat format = choose_fim_format(generator.info());
  const DocumentPtr document = lines_document(500);
  for (int context : {128, 256, 1024, 2048, 4096}) {
    CAPTURE(context);
    generator.info().context_length = context;
    const BuiltPrompt built =
        builder.build(document, document->line_end(300), generator, format, {});
    size_t total = 0;
    for (const PromptSegment& segment : built.prompt) {
      total += segment.kind == PromptSegment::Kind::kControl ? 1 : count(segment.text);
    }
    CHECK(total < static_cast<size_t>(context));
  }
}

TEST_CASE("secrets in the windows are masked") {
  Workspace workspace;
  const Exclusion exclusion;
  Gatherer gatherer(&workspace, &exclusion);
  PromptBuilder builder(&workspace, &gatherer);
  const ScriptedGenerator generator;
  const FimFormat format = choose_fim_format(generator.info());
  const std::string secret = "AKIAIOSFODNN7EXAMPLE";
  const DocumentPtr document =
      Document::open("file:///project/a.py", "python", 1, "key_id = \"" + secret + "\"\nx = \n");
  const BuiltPrompt built = builder.build(document, document->line_end(1), generator, format, {});
  CHECK(spell_out(built.prompt).find(secret) == std::string::npos);
  CHECK(spell_out(built.prompt).find("x = ") != std::string::npos);
}

}  // namespace
}  // namespace fimd
