// The commander with a generator that says what the test tells it to.
#include "completion/commands/commander.h"

#include <string>
#include <vector>

#include "completion/commands/answer.h"
#include "completion/fim_format.h"
#include "support/log.h"
#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::ScriptedGenerator;

struct Reply {
  int calls = 0;
  std::optional<Result<CommandResult>> result;
  std::string streamed;
  size_t prompt_tokens = 0;

  const CommandResult& value() const {
    REQUIRE(calls == 1);
    if (!result->ok()) FAIL(result->error().message);
    return **result;
  }
  Error error() const {
    REQUIRE(calls == 1);
    REQUIRE_FALSE(result->ok());
    return result->error();
  }
};

class Editor {
 public:
  explicit Editor(CompletionOptions options = {}) : options_(std::move(options)) {
    log::set_level(log::Level::kOff);
    ModelInfo& info = generator->info();
    info.name = "scripted";
    info.path = "/models/scripted.gguf";
    info.control_tokens.insert(info.control_tokens.end(), {"<|im_start|>", "<|im_end|>"});
    info.chat_template =
        "<|im_start|>{% if add_generation_prompt %}{% if enable_thinking is false %}<think>";
    workspace.set_folders({"/project"});
    commander = make_commander([this]() -> std::shared_ptr<Generator> { return source; },
                               &workspace, queue.executor(), options_);
  }

  void open(const std::string& text, const std::string& language = "python",
            const std::string& new_uri = "file:///project/src/a.py") {
    uri = new_uri;
    document = workspace.open(uri, language, ++version, text);
  }
  /// The range from the first of `from` to the end of the first of `to` behind it; without `to` the
  /// place right before `from`.
  std::shared_ptr<Reply> run(const std::string& command, const std::string& from,
                             const std::string& to = "", const std::string& instruction = "",
                             std::vector<Diagnostic> diagnostics = {}) {
    CommandRequest request;
    request.command = command;
    request.document = document;
    request.begin = document->text().find(from);
    REQUIRE(request.begin != std::string::npos);
    request.end = to.empty() ? request.begin : document->text().find(to, request.begin) + to.size();
    request.instruction = instruction;
    request.diagnostics = std::move(diagnostics);
    return submit(std::move(request));
  }
  std::shared_ptr<Reply> submit(CommandRequest request) {
    auto reply = std::make_shared<Reply>();
    CommandEvents events;
    events.started = [reply](size_t tokens) { reply->prompt_tokens = tokens; };
    events.text = [reply](std::string_view text) { reply->streamed += text; };
    events.done = [reply](Result<CommandResult> result) {
      ++reply->calls;
      reply->result.emplace(std::move(result));
    };
    last_id = commander->run(std::move(request), std::move(events));
    CHECK(reply->calls == 0);  // never from inside run()
    queue.run_ready();
    return reply;
  }
  /// The newest generation says `text` and ends.
  void answer(const std::string& text, FinishReason reason = FinishReason::kEndOfText) {
    const size_t index = generator->last();
    generator->say(index, text);
    generator->end(index, reason);
    queue.run_ready();
  }
  std::string prompt() const {
    return spell_out(generator->calls.at(generator->last()).request.prompt);
  }
  std::string after(const CommandResult& result) const {
    std::string text = document->text();
    return text.replace(result.begin, result.end - result.begin, result.text);
  }

  TaskQueue queue;
  Workspace workspace;
  std::shared_ptr<ScriptedGenerator> generator = std::make_shared<ScriptedGenerator>();
  std::shared_ptr<Generator> source = generator;
  CompletionOptions options_;
  std::unique_ptr<Commander> commander;
  DocumentPtr document;
  std::string uri;
  int64_t version = 0;
  CommandId last_id = 0;
};

const std::string kFile =
    "import os\n\n\ndef add(a, b):\n    return a + b\n\n\nclass Box:\n    def size(self):\n"
    "        return len(self.items)\n\n    def clear(self):\n        self.items = []\n";

TEST_CASE("the prompt: system line, what stands around, the code, the task") {
  Editor editor;
  editor.open("def other(items):\n    self.items = items\n    return len(self.items)\n", "python",
              "file:///project/src/b.py");
  editor.open(kFile);
  editor.run("refactor", "return len", "", "return 0 without items");
  CHECK(editor.prompt() ==
        "<|im_start|>system\n"
        "You are an experienced programmer who helps inside a code editor. You are given part of a "
        "file and a task. Do exactly that task, rely on what you see, and invent nothing."
        "<|im_end|>\n"
        "<|im_start|>user\n"
        "Code from other files of the project:\n\n"
        "src/b.py\n"
        "```\ndef other(items):\n    self.items = items\n    return len(self.items)\n```\n\n"
        "The file src/a.py, written in python, up to the code in question:\n\n"
        "```python\nimport os\n\n\ndef add(a, b):\n    return a + b\n\n\nclass Box:\n```\n\n"
        "What follows the code in question:\n\n"
        "```python\n    def clear(self):\n        self.items = []\n```\n\n"
        "The code in question, line 9 to 10:\n\n"
        "```python\n    def size(self):\n        return len(self.items)\n```\n\n"
        "Change `size` as follows: return 0 without items\n\n"
        "Keep everything else about it as it is: what it does, its style, its comments. "
        "Answer with the whole of the code in question, changed, in one code block, and nothing "
        "else. Leave nothing out."
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
  const GenerationRequest& request = editor.generator->calls.at(editor.generator->last()).request;
  CHECK_FALSE(request.params.heal);
  CHECK(request.params.sampling.temperature == 0);
  CHECK(request.params.stop_controls ==
        std::vector<std::string>{"<|im_end|>", "<|im_start|>", "<|endoftext|>"});
}

TEST_CASE("the commands differ in their task only, so that what they share stays cached") {
  Editor editor;
  editor.open(kFile);
  std::vector<std::string> prompts;
  for (const char* command : {"explain", "review", "fix"}) {
    editor.run(command, "return a");
    prompts.push_back(editor.prompt());
  }
  for (const std::string& prompt : prompts) {
    const size_t shared = prompt.find("return a + b\n```\n\n") + 17;
    REQUIRE(shared != std::string::npos);
    CHECK(prompt.substr(0, shared) == prompts.front().substr(0, shared));
  }
  CHECK(prompts[0] != prompts[1]);
}

TEST_CASE("fix tells the model what the editor's other servers say") {
  Editor editor;
  editor.open(kFile);
  editor.run("fix", "return a", "b", "Keep it short.",
             {{4, "error", "\"b\" is not defined\nmore", "pyright"},
              {900, "", "elsewhere", ""},
              {4, "", "odd", ""}});
  const std::string prompt = editor.prompt();
  CHECK(prompt.find("- line 5, `return a + b`: error: \"b\" is not defined more (pyright)\n"
                    "- line 5, `return a + b`: odd\n\nCorrect them. Keep it short.") !=
        std::string::npos);
}

TEST_CASE("an edit replaces whole lines, in the document's own manner") {
  Editor editor;
  editor.open("def a():\r\n\tif x:\r\n\t\treturn 1\r\n\r\n\r\ndef b():\r\n\tpass\r\n");
  const auto reply = editor.run("refactor", "if x", "return 1", "other value");
  editor.answer("Sure!\n```python\nif x:\n    return 2\n```\nI changed 1 to 2. ```no```");
  const CommandResult& result = reply->value();
  CHECK(result.kind == CommandResult::Kind::kEdit);
  CHECK(result.title == "Refactor: other value");
  CHECK(editor.after(result) ==
        "def a():\r\n\tif x:\r\n\t\treturn 2\r\n\r\n\r\ndef b():\r\n\tpass\r\n");
  // What follows the block is not waited for.
  CHECK(editor.generator->calls.at(editor.generator->last()).stopped);
  CHECK(reply->streamed.starts_with("Sure!\n```python"));
  CHECK(reply->prompt_tokens > 100);
}

TEST_CASE("selected blank lines around the code stay") {
  Editor editor;
  editor.open("a = 1\n\n\nb = 2\n\n\nc = 3\n");
  const auto reply = editor.run("refactor", "\n\n\nb", "2\n\n", "more");
  editor.answer("```\nb = 4\nd = 5\n```");
  CHECK(editor.after(reply->value()) == "a = 1\n\n\nb = 4\nd = 5\n\n\nc = 3\n");
}

TEST_CASE("explain and review answer in words") {
  Editor editor;
  editor.open(kFile);
  const auto reply = editor.run("explain", "return a");
  editor.answer("\n<think>\nhm\n</think>\n\nIt **adds**.\n\n```python\nadd(1, 2)\n```\nDone.\n");
  CHECK(reply->value().kind == CommandResult::Kind::kMarkdown);
  CHECK(reply->value().text == "It **adds**.\n\n```python\nadd(1, 2)\n```\nDone.");
  CHECK_FALSE(reply->value().truncated);
  CHECK(reply->streamed == "It **adds**.\n\n```python\nadd(1, 2)\n```\nDone.\n");
  const auto cut = editor.run("review", "return a");
  editor.answer("- One", FinishReason::kMaxTokens);
  CHECK(cut->value().truncated);
  const auto silent = editor.run("review", "return a");
  editor.answer(" \n");
  CHECK(silent->error().message.find("no answer") != std::string::npos);
  const auto circling = editor.run("explain", "return a");
  std::string text = "It adds. ";
  for (int i = 0; i < 200; ++i) text += "And more. ";
  editor.answer(text);
  CHECK(circling->value().truncated);
  CHECK(circling->value().text.size() < 40);
  CHECK(editor.generator->calls.at(editor.generator->last()).stopped);
}

TEST_CASE("document puts what the model writes where the language has it, and touches no code") {
  Editor editor;
  editor.open(kFile);
  const auto reply = editor.run("document", "return len");
  CHECK(editor.prompt().find("Write the docstring (in \"\"\") of `size`") != std::string::npos);
  editor.answer(
      "```python\ndef size(self):\n    \"\"\"Number of items.\n\n    More.\n    \"\"\"\n"
      "    return 42\n```");
  CHECK(reply->value().title == "Document size");
  CHECK(editor.after(reply->value()) ==
        "import os\n\n\ndef add(a, b):\n    return a + b\n\n\nclass Box:\n    def size(self):\n"
        "        \"\"\"Number of items.\n\n        More.\n        \"\"\"\n"
        "        return len(self.items)\n\n    def clear(self):\n        self.items = []\n");

  editor.open("/** Old words here. */\nint f() {\n  return 1;\n}\n", "c", "file:///project/a.c");
  const auto again = editor.run("document", "return");
  editor.answer("```c\n/** New words here. */\n```");
  CHECK(editor.after(again->value()) == "/** New words here. */\nint f() {\n  return 1;\n}\n");
  const auto same = editor.run("document", "return");
  editor.answer("```c\n/** Old words here. */\n```");
  CHECK(same->error().message.find("no change") != std::string::npos);
  const auto nothing = editor.run("document", "return");
  editor.answer("I cannot.");
  CHECK(nothing->error().message.find("without code") != std::string::npos);
}

TEST_CASE("a model without a chat template documents by filling in, and refuses the rest") {
  Editor editor;
  editor.generator->info().chat_template.clear();
  editor.open("import os\r\n\r\n\r\ndef read_all(path):\r\n    return open(path).read()\r\n");
  const auto reply = editor.run("document", "return");
  const std::vector<size_t> calls = editor.generator->generations();
  REQUIRE(calls.size() > 2);
  for (const size_t call : calls) {
    const GenerationRequest& request = editor.generator->calls[call].request;
    const std::string prompt = spell_out(request.prompt);
    CHECK(prompt.ends_with("<|fim_middle|>    \"\"\""));
    CHECK(prompt.find("def read_all(path):\n<|fim_suffix|>\n    return") != std::string::npos);
    CHECK(request.params.stop.front() == "\"\"\"");
  }
  editor.generator->say(calls[0], "Re-exports implementation", -0.01F);
  editor.generator->say(calls[1], "Read all of a file", -0.5F);
  for (const size_t call : calls) editor.generator->end(call);
  editor.queue.run_ready();
  CHECK(editor.after(reply->value()) ==
        "import os\r\n\r\n\r\ndef read_all(path):\r\n    \"\"\"Read all of a file.\"\"\"\r\n"
        "    return open(path).read()\r\n");
  CHECK(reply->streamed.empty());

  for (const char* command : {"explain", "review", "fix", "refactor"}) {
    const auto refused = editor.run(command, "return", "", "do it");
    CHECK(refused->error().code == ErrorCode::kUnsupported);
    CHECK(refused->error().message.find("scripted.gguf") != std::string::npos);
  }
  editor.open("def f():\n    \"\"\"Old.\"\"\"\n    return 1\n");
  CHECK(editor.run("document", "return")->error().message.find("documented already") !=
        std::string::npos);
  // A model that cannot even fill in.
  editor.generator->info().control_tokens.clear();
  editor.open("def f():\n    return 1\n");
  CHECK(editor.run("document", "return")->error().code == ErrorCode::kUnsupported);
}

TEST_CASE("secrets never reach a model") {
  Editor editor;
  const std::string secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
  editor.open("token = \"" + secret + "\"\n\n\ndef f():\n    return token\n");
  editor.run("explain", "return");
  CHECK(editor.prompt().find(secret) == std::string::npos);
  editor.run("explain", "token =", "\"\n");
  CHECK(editor.prompt().find(secret) == std::string::npos);
  CHECK(editor.prompt().find("token = ") != std::string::npos);
  // An edit would write the mask into the file.
  const size_t before = editor.generator->calls.size();
  CHECK(editor.run("refactor", "token =", "\"\n", "rename")->error().message.find("secret") !=
        std::string::npos);
  CHECK(editor.generator->calls.size() == before);

  editor.open("KEY=1\n", "bash", "file:///project/.env");
  CHECK(editor.run("explain", "KEY", "1")->error().message.find("never shown") !=
        std::string::npos);
  CompletionOptions options;
  options.exclude = {"*.gen.py"};
  editor.commander->set_options(options);
  editor.open("x = 1\n", "python", "file:///project/a.gen.py");
  CHECK(editor.run("explain", "x", "1")->error().code == ErrorCode::kUnsupported);
  CHECK(editor.generator->calls.size() == before);
}

TEST_CASE("bad requests are errors that say what is wrong") {
  Editor editor;
  editor.open(kFile + "\n\n");
  CHECK(editor.run("dance", "add")->error().message.find("'dance'") != std::string::npos);
  CHECK(editor.run("refactor", "return a", "", " \n")->error().code == ErrorCode::kInvalidArgument);
  CHECK(editor.run("refactor", "return a", "", std::string(9000, 'x'))->error().code ==
        ErrorCode::kInvalidArgument);
  CHECK(editor.run("explain", "\n\ndef add")->error().code == ErrorCode::kNotFound);
  CHECK(editor.run("explain", "\n\n\ndef", "\n\n")->error().code == ErrorCode::kNotFound);
  CHECK(editor.run("document", "import")->error().code == ErrorCode::kNotFound);
  CommandRequest request;
  request.command = "explain";
  CHECK(editor.submit(request)->error().code == ErrorCode::kInvalidArgument);
  request.document = editor.document;
  for (const auto& [begin, end] : {std::pair<size_t, size_t>{5, 3}, {0, 100000}}) {
    for (const char* command : {"explain", "document"}) {
      request.command = command;
      request.begin = begin;
      request.end = end;
      CHECK(editor.submit(request)->error().code == ErrorCode::kInvalidArgument);
    }
  }
  editor.source = nullptr;
  CHECK(editor.run("explain", "return a")->error().code == ErrorCode::kUnavailable);
  CHECK(editor.generator->calls.empty());
}

TEST_CASE("code that is too long is refused with the numbers; surroundings only shrink") {
  Editor editor;
  std::string text = "def small():\n    return 1\n\n\ndef large():\n";
  for (int i = 0; i < 400; ++i)
    text += "    value_" + std::to_string(i) + " = " + std::to_string(i * 7) + "\n";
  editor.open(text);
  const auto refused = editor.run("refactor", "value_7 ", "", "rename all");
  CHECK(refused->error().code == ErrorCode::kResourceExhausted);
  CHECK(refused->error().message.find("of 2048") != std::string::npos);
  CHECK(editor.generator->calls.empty());
  for (const char* command : {"refactor", "explain", "document"}) {
    const auto reply = editor.run(command, "return 1", "", "x");
    const GenerationRequest& request = editor.generator->calls.at(editor.generator->last()).request;
    CHECK(reply->prompt_tokens + static_cast<size_t>(request.params.max_tokens) < 2048);
    CHECK(reply->prompt_tokens > 800);  // the room is used
    CHECK(editor.prompt().find("value_3 = 21") != std::string::npos);
    CHECK(editor.prompt().find("value_399 = ") == std::string::npos);
  }
}

TEST_CASE("cancelled, replaced, closed and failed commands") {
  Editor editor;
  editor.open(kFile);
  const auto first = editor.run("explain", "return a");
  const CommandId first_id = editor.last_id;
  const size_t call = editor.generator->last();
  const auto other = editor.run("review", "return a");  // another command: both go on
  CHECK(first->calls == 0);
  const auto newer = editor.run("explain", "return len");
  CHECK(first->error().code == ErrorCode::kCancelled);
  CHECK(editor.generator->calls[call].cancelled);
  editor.commander->cancel(first_id);  // over already
  editor.commander->cancel(editor.last_id);
  editor.queue.run_ready();
  CHECK(newer->error().code == ErrorCode::kCancelled);
  CHECK(other->calls == 0);
  editor.commander->document_closed(editor.uri);
  editor.queue.run_ready();
  CHECK(other->error().code == ErrorCode::kCancelled);

  const auto failed = editor.run("explain", "return a");
  editor.generator->say(editor.generator->last(), "It a");
  editor.generator->fail(editor.generator->last(), Error{ErrorCode::kInternal, "broke"});
  editor.queue.run_ready();
  CHECK(failed->error().message == "broke");

  const auto last = editor.run("explain", "return a");
  editor.commander.reset();
  editor.queue.run_ready();
  CHECK(last->error().code == ErrorCode::kCancelled);
  CHECK(editor.generator->calls.back().cancelled);
}

}  // namespace
}  // namespace fimd
