#include "completion/commands/command_prompt.h"

#include <algorithm>

#include "completion/commands/answer.h"
#include "completion/text_util.h"
#include "context/definitions.h"
#include "context/exclusion.h"
#include "context/language.h"

namespace fimd {
namespace {

// A CPU pays for every token of a prompt; accelerators read longer ones in the same time.
constexpr size_t kCpuPromptTokens = 4096;
constexpr size_t kPromptTokens = 16384;
constexpr size_t kMaxCodeAnswer = 8192;
// Of the room beside the code: text before it, text behind it; other files get the rest.
constexpr size_t kBeforePercent = 40;
constexpr size_t kAfterPercent = 20;
constexpr size_t kBeforeAlonePercent = 65;
constexpr size_t kAfterAlonePercent = 35;
constexpr size_t kMaxBytesPerToken = 16;

std::string redacted(std::string_view text) {
  return with_unix_line_breaks(redact_secrets(text).value_or(std::string(text)));
}

std::string fenced(std::string_view language, std::string_view code) {
  const std::string fence = fence_for(code);
  std::string out = fence + std::string(language) + "\n" + std::string(code);
  if (!out.ends_with('\n')) out += '\n';
  return out + fence + "\n";
}

/// Whole lines right before `end`, as many as fit.
size_t window_begin(const Document& document, size_t end, size_t budget, TokenCounter* count) {
  size_t line = document.line_of(end);
  size_t begin = end;
  for (size_t used = 0; line > 0; --line) {
    const size_t from = document.line_start(line - 1);
    if (begin - from > budget * kMaxBytesPerToken) break;
    used += (*count)(std::string_view(document.text()).substr(from, begin - from));
    if (used > budget) break;
    begin = from;
  }
  return begin;
}

/// Whole lines right behind the line that ends at `begin`, as many as fit.
size_t window_end(const Document& document, size_t begin, size_t budget, TokenCounter* count) {
  const std::string_view text = document.text();
  size_t end = begin;
  size_t used = 0;
  for (size_t line = document.line_of(begin) + 1; line < document.line_count(); ++line) {
    const size_t to = document.line_end(line);
    if (to - end > budget * kMaxBytesPerToken) break;
    used += (*count)(text.substr(end, to - end));
    if (used > budget) break;
    end = to;
  }
  return end;
}

struct Context {
  std::string before;
  std::string after;
  std::vector<Snippet> snippets;
};

std::string user_text(const Context& context, const std::string& path, std::string_view language,
                      const LineRange& lines, std::string_view code, std::string_view task) {
  std::string text;
  if (!context.snippets.empty()) {
    text += "Code from other files of the project:\n\n";
    for (const Snippet& snippet : context.snippets) {
      text += snippet.path + "\n" + fenced("", with_unix_line_breaks(snippet.text)) + "\n";
    }
  }
  text += "The file " + path + (language.empty() ? "" : ", written in " + std::string(language));
  if (!context.before.empty()) {
    text += ", up to the code in question:\n\n" + fenced(language, context.before) + "\n";
  } else {
    text += ".\n\n";
  }
  if (!context.after.empty()) {
    text += "What follows the code in question:\n\n" + fenced(language, context.after) + "\n";
  }
  text += "The code in question, line " + std::to_string(lines.first_line + 1) + " to " +
          std::to_string(lines.last_line + 1) + ":\n\n" + fenced(language, code) + "\n";
  return text + std::string(task);
}

}  // namespace

std::string_view command_system_text() {
  return "You are an experienced programmer who helps inside a code editor. You are given part of "
         "a file and a task. Do exactly that task, rely on what you see, and invent nothing.";
}

Result<LineRange> command_lines(const CommandRequest& request, std::string* name) {
  const Document& document = *request.document;
  const std::string_view text = document.text();
  if (request.begin > request.end || request.end > text.size()) {
    return Error{ErrorCode::kInvalidArgument, "the range lies outside the document"};
  }
  size_t begin = request.begin;
  size_t end = request.end;
  if (begin == end) {
    const auto region = code_around(document, begin);
    if (region) {
      begin = region->begin;
      end = region->end;
      if (name != nullptr) *name = region->name;
    } else if (document.tree() != nullptr ||
               is_blank(document.line_text(document.line_of(begin)))) {
      return Error{ErrorCode::kNotFound,
                   "there is no code here: put the cursor on some, or select it"};
    }
  }
  LineRange lines;
  lines.first_line = document.line_of(begin);
  lines.last_line = document.line_of(end);
  // A range that ends at the start of a line means the lines before it.
  if (lines.last_line > lines.first_line && document.line_start(lines.last_line) == end) {
    --lines.last_line;
  }
  // Likewise one that begins at the end of a line.
  if (lines.first_line < lines.last_line && begin >= document.line_end(lines.first_line)) {
    ++lines.first_line;
  }
  while (lines.first_line < lines.last_line && is_blank(document.line_text(lines.first_line))) {
    ++lines.first_line;
  }
  while (lines.first_line < lines.last_line && is_blank(document.line_text(lines.last_line))) {
    --lines.last_line;
  }
  if (is_blank(document.line_text(lines.first_line))) {
    return Error{ErrorCode::kNotFound, "the selection is blank"};
  }
  lines.begin = document.line_start(lines.first_line);
  lines.end = document.line_end(lines.last_line);
  if (name != nullptr && name->empty()) {
    // What was selected may be just one function.
    const std::string_view first = document.line_text(lines.first_line);
    const auto region = code_around(document, lines.begin + leading_blanks(first).size());
    if (region && document.line_of(region->begin) == lines.first_line &&
        document.line_of(region->end) == lines.last_line) {
      *name = region->name;
    }
  }
  return lines;
}

Result<CommandPrompt> CommandPromptBuilder::build(const CodeCommand& spec,
                                                  const CommandRequest& request,
                                                  const CommandTarget& target,
                                                  const LineRange& lines,
                                                  const Generator& generator,
                                                  const ChatFormat& format, bool with_snippets) {
  counter_.use(&generator);
  const Document& document = *request.document;
  const std::string_view text = document.text();
  const ModelInfo& model = generator.info();
  const std::string original(text.substr(lines.begin, lines.end - lines.begin));
  const std::string code = redacted(original);
  if (spec.answer == CodeCommand::Answer::kCode && code != with_unix_line_breaks(original)) {
    return Error{ErrorCode::kUnsupported,
                 "the code holds what looks like a secret, which no model is shown; `" +
                     std::string(spec.name) + "` would lose it. Select code without it"};
  }
  const std::string task = spec.task(request, target);
  const std::string path = workspace_ == nullptr ? "" : workspace_->relative_path(document);

  const size_t context =
      model.context_length > 0 ? static_cast<size_t>(model.context_length) : kCpuPromptTokens;
  const bool cpu = model.backend.rfind("cpu", 0) == 0 || model.backend.empty();
  const size_t code_tokens = counter_(code);
  size_t reply = static_cast<size_t>(spec.max_tokens);
  if (spec.answer == CodeCommand::Answer::kCode) {
    reply = std::min(kMaxCodeAnswer, code_tokens + code_tokens / 2 + 256);
  } else {
    reply = std::min(reply, context / 3);
  }

  const auto assemble = [&](const Context& around) {
    return render_chat(format, command_system_text(),
                       user_text(around, path, target.language, lines, code, task));
  };
  const auto count = [&](const Prompt& prompt) {
    size_t total = 0;
    for (const PromptSegment& segment : prompt) {
      total +=
          segment.kind == PromptSegment::Kind::kControl ? 1 : generator.count_tokens(segment.text);
    }
    return total;
  };
  CommandPrompt built;
  built.max_tokens = static_cast<int>(reply);
  built.prompt = assemble({});
  built.tokens = count(built.prompt);
  if (built.tokens + reply + 1 > context) {
    return Error{ErrorCode::kResourceExhausted,
                 "the code is too long for the model: the prompt takes " +
                     std::to_string(built.tokens) + " tokens and the answer up to " +
                     std::to_string(reply) + ", of " + std::to_string(context) +
                     "; select less code"};
  }
  const size_t whole = std::min(context - reply, cpu ? kCpuPromptTokens : kPromptTokens);
  // Marks around the parts, and tokens that only come of joining them.
  const size_t spent = built.tokens + built.tokens / 50 + 64;
  for (size_t room = whole > spent ? whole - spent : 0; room >= 64; room = room * 3 / 4) {
    Context around;
    // What one side leaves over goes to the other.
    size_t before_budget = room * (with_snippets ? kBeforePercent : kBeforeAlonePercent) / 100;
    size_t after_budget = room * (with_snippets ? kAfterPercent : kAfterAlonePercent) / 100;
    const size_t below = window_end(document, lines.end, after_budget, &counter_);
    const size_t below_tokens = counter_(text.substr(lines.end, below - lines.end));
    if (below == text.size()) before_budget += after_budget - std::min(after_budget, below_tokens);
    const size_t begin = window_begin(document, lines.begin, before_budget, &counter_);
    const size_t above_tokens = counter_(text.substr(begin, lines.begin - begin));
    if (begin == 0) after_budget += before_budget - std::min(before_budget, above_tokens);
    const size_t end = window_end(document, lines.end, after_budget, &counter_);
    around.before = trim_right(redacted(text.substr(begin, lines.begin - begin)));
    around.after = redacted(text.substr(lines.end, end - lines.end));
    // The lines before begin with their indentation; the blank ones between are not worth a word.
    const size_t first = std::min(around.after.find_first_not_of('\n'), around.after.size());
    around.after = trim_right(around.after.substr(first));
    const size_t used = counter_(around.before) + counter_(around.after);
    if (with_snippets && gatherer_ != nullptr && room > used) {
      around.snippets =
          gatherer_->gather(request.document, lines.begin, room - used,
                            [this](std::string_view piece) { return counter_(piece); });
    }
    Prompt prompt = assemble(around);
    const size_t tokens = count(prompt);
    if (tokens > whole) continue;
    built.prompt = std::move(prompt);
    built.tokens = tokens;
    break;
  }
  return built;
}

}  // namespace fimd
