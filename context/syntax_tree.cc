#include "context/syntax_tree.h"

#include <time.h>

#include <algorithm>
#include <cstring>

namespace fimd {
namespace {

// The thread's own time: a busy machine (the engine's threads, say) must not cost the tree.
double cpu_ms() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

struct ParserDeleter {
  void operator()(TSParser* parser) const { ts_parser_delete(parser); }
};

// A cursor that frees itself.
class Cursor {
 public:
  explicit Cursor(TSNode node) : cursor_(ts_tree_cursor_new(node)) {}
  ~Cursor() { ts_tree_cursor_delete(&cursor_); }
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;
  TSTreeCursor* get() { return &cursor_; }
  TSNode node() const { return ts_tree_cursor_current_node(&cursor_); }

 private:
  TSTreeCursor cursor_;
};

const char* read_text(void* payload, uint32_t offset, TSPoint, uint32_t* size) {
  const auto* text = static_cast<const std::string_view*>(payload);
  if (offset >= text->size()) {
    *size = 0;
    return "";
  }
  *size = static_cast<uint32_t>(text->size() - offset);
  return text->data() + offset;
}

bool past_deadline(TSParseState* state) {
  return cpu_ms() > *static_cast<const double*>(state->payload);
}

std::string_view node_text(TSNode node, std::string_view text) {
  const size_t begin = std::min<size_t>(ts_node_start_byte(node), text.size());
  const size_t end = std::min<size_t>(ts_node_end_byte(node), text.size());
  return text.substr(begin, end - begin);
}

TSNode field(TSNode node, std::string_view name) {
  return ts_node_child_by_field_name(node, name.data(), static_cast<uint32_t>(name.size()));
}

}  // namespace

TSPoint point_at(std::string_view text, size_t offset) {
  TSPoint point = {0, 0};
  const char* at = text.data();
  const char* end = at + std::min(offset, text.size());
  while (at < end) {
    const void* hit = std::memchr(at, '\n', static_cast<size_t>(end - at));
    if (hit == nullptr) break;
    at = static_cast<const char*>(hit) + 1;
    ++point.row;
  }
  point.column = static_cast<uint32_t>(end - at);
  return point;
}

TSInputEdit make_edit(std::string_view old_text, size_t begin, size_t old_end,
                      std::string_view new_text, size_t new_end) {
  const auto advance = [begin](TSPoint from, std::string_view text, size_t end) {
    const TSPoint rest = point_at(text.substr(begin), end - begin);
    return TSPoint{from.row + rest.row, rest.row == 0 ? from.column + rest.column : rest.column};
  };
  TSInputEdit edit;
  edit.start_byte = static_cast<uint32_t>(begin);
  edit.old_end_byte = static_cast<uint32_t>(old_end);
  edit.new_end_byte = static_cast<uint32_t>(new_end);
  edit.start_point = point_at(old_text, begin);
  edit.old_end_point = advance(edit.start_point, old_text, old_end);
  edit.new_end_point = advance(edit.start_point, new_text, new_end);
  return edit;
}

std::shared_ptr<const SyntaxTree> SyntaxTree::run(const Language& language, std::string_view text,
                                                  const TSTree* old_tree, double timeout_ms) {
  if (text.size() > kMaxSyntaxBytes) return nullptr;
  const std::unique_ptr<TSParser, ParserDeleter> parser(ts_parser_new());
  if (parser == nullptr || !ts_parser_set_language(parser.get(), language.grammar())) {
    return nullptr;
  }
  double deadline = cpu_ms() + timeout_ms;
  const TSInput input = {
      .payload = &text, .read = read_text, .encoding = TSInputEncodingUTF8, .decode = nullptr};
  const TSParseOptions options = {.payload = &deadline, .progress_callback = past_deadline};
  TSTree* tree = ts_parser_parse_with_options(parser.get(), old_tree, input, options);
  if (tree == nullptr) return nullptr;
  return std::shared_ptr<const SyntaxTree>(new SyntaxTree(language, tree));
}

std::shared_ptr<const SyntaxTree> SyntaxTree::parse(const Language& language, std::string_view text,
                                                    double timeout_ms) {
  return run(language, text, nullptr, timeout_ms);
}

std::shared_ptr<const SyntaxTree> SyntaxTree::reparse(std::string_view text,
                                                      const std::vector<TSInputEdit>& edits,
                                                      double timeout_ms) const {
  TSTree* copy = ts_tree_copy(tree_);
  for (const TSInputEdit& edit : edits) ts_tree_edit(copy, &edit);
  auto result = run(*language_, text, copy, timeout_ms);
  ts_tree_delete(copy);
  return result;
}

SyntaxTree::~SyntaxTree() { ts_tree_delete(tree_); }

std::vector<TSNode> SyntaxTree::path_to(size_t offset, bool touching) const {
  std::vector<TSNode> path = {root()};
  if (offset == 0) return path;
  Cursor cursor(root());
  const auto goal = static_cast<uint32_t>(offset - 1);
  while (ts_tree_cursor_goto_first_child_for_byte(cursor.get(), goal) >= 0) {
    const TSNode node = cursor.node();
    if (ts_node_start_byte(node) >= offset) break;
    if (!touching && ts_node_end_byte(node) <= offset) break;
    path.push_back(node);
  }
  return path;
}

std::vector<TSNode> SyntaxTree::path_to_range(size_t begin, size_t end) const {
  std::vector<TSNode> path = {root()};
  Cursor cursor(root());
  while (ts_tree_cursor_goto_first_child_for_byte(cursor.get(), static_cast<uint32_t>(begin)) >=
         0) {
    const TSNode node = cursor.node();
    if (ts_node_start_byte(node) > begin || ts_node_end_byte(node) < end) break;
    path.push_back(node);
  }
  return path;
}

bool SyntaxTree::has_error_in(size_t begin, size_t end) const {
  if (!ts_node_has_error(root())) return false;
  Cursor cursor(root());
  bool descend = true;
  while (true) {
    const TSNode node = cursor.node();
    const bool touches = ts_node_start_byte(node) <= end && ts_node_end_byte(node) >= begin;
    if (descend && touches && ts_node_has_error(node)) {
      // An error's own children are the tokens it swallowed: the error touches, so that is enough.
      if (ts_node_is_missing(node) || ts_node_is_error(node)) return true;
      if (ts_tree_cursor_goto_first_child(cursor.get())) continue;
    }
    while (!ts_tree_cursor_goto_next_sibling(cursor.get())) {
      if (!ts_tree_cursor_goto_parent(cursor.get())) return false;
    }
    descend = true;
  }
}

std::string SyntaxTree::dump() const {
  std::string out;
  Cursor cursor(root());
  while (true) {
    const TSNode node = cursor.node();
    out.append("(");
    if (ts_node_is_missing(node)) out.append("MISSING ");
    out.append(ts_node_type(node));
    out.append(" " + std::to_string(ts_node_start_byte(node)) + "-" +
               std::to_string(ts_node_end_byte(node)));
    const TSPoint start = ts_node_start_point(node);
    out.append("@" + std::to_string(start.row) + ":" + std::to_string(start.column));
    if (ts_tree_cursor_goto_first_child(cursor.get())) {
      continue;
    }
    out.append(")");
    while (!ts_tree_cursor_goto_next_sibling(cursor.get())) {
      if (!ts_tree_cursor_goto_parent(cursor.get())) return out;
      out.append(")");
    }
  }
}

std::string_view definition_name(const SyntaxTree& tree, std::string_view text, TSNode node) {
  // The name is a field of the definition, or lies down a chain of declarators.
  for (int depth = 0; depth < 12; ++depth) {
    TSNode next = field(node, "name");
    for (const std::string_view name : {"declarator", "definition", "left", "type", "trait"}) {
      if (!ts_node_is_null(next)) break;
      next = field(node, name);
    }
    // export_statement, template_declaration and the like wrap what they define.
    for (uint32_t i = 0; ts_node_is_null(next) && i < std::min(ts_node_named_child_count(node), 8u);
         ++i) {
      const TSNode child = ts_node_named_child(node, i);
      const std::string_view type = ts_node_type(child);
      const bool declares = type.ends_with("_declarator") || type.ends_with("_spec") ||
                            type == "assignment_statement" || type == "variable_list";
      if ((tree.roles(child) & (kFunction | kType | kVariable)) != 0 || declares) next = child;
    }
    if (ts_node_is_null(next)) break;
    node = next;
    if (ts_node_named_child_count(node) == 0) break;
    const std::string_view type = ts_node_type(node);
    if (type.starts_with("qualified") || type.starts_with("scoped") ||
        type.ends_with("_index_expression")) {
      break;
    }
  }
  std::string_view name = node_text(node, text);
  if (name.size() > 200 || name.find_first_of("\n({[") != std::string_view::npos) return "";
  if (name.size() >= 2 && (name[0] == '"' || name[0] == '\''))
    name = name.substr(1, name.size() - 2);
  // a::b, a.b, a:b are known by their last part.
  const size_t separator = name.find_last_of(":.");
  if (separator != std::string_view::npos) name.remove_prefix(separator + 1);
  return name;
}

std::vector<Definition> collect_definitions(const SyntaxTree& tree, std::string_view text,
                                            size_t limit) {
  constexpr uint16_t kDefinition = kFunction | kType | kVariable;
  constexpr size_t kMaxVisits = 200000;
  std::vector<Definition> definitions;
  const auto add = [&](TSNode node, uint16_t roles) {
    const std::string_view name = definition_name(tree, text, node);
    if (name.empty()) return;
    const size_t end = ts_node_end_byte(node);
    // Decorators, export and template<> wrap what they define: one definition, not two. A
    // constructor has its class's name, but ends elsewhere.
    const bool wrapped = !definitions.empty() && definitions.back().name == name &&
                         definitions.back().end >= end && definitions.back().end <= end + 2;
    if (wrapped) return;
    definitions.push_back(
        {name, ts_node_start_byte(node), end, static_cast<uint16_t>(roles & kDefinition)});
  };
  Cursor cursor(tree.root());
  if (!ts_tree_cursor_goto_first_child(cursor.get())) return definitions;
  for (size_t visits = 0; definitions.size() < limit && visits < kMaxVisits; ++visits) {
    const TSNode node = cursor.node();
    const uint16_t roles = tree.roles(node);
    bool descend = true;
    if ((roles & kDefinition) != 0) {
      add(node, roles);
      descend = (roles & kFunction) == 0;
    } else if ((roles & (kString | kComment | kArguments | kImport)) != 0) {
      descend = false;
    } else if ((roles & kStatement) != 0 && (roles & kBlock) == 0) {
      // A plain statement may be an assignment that defines a global.
      const TSNode child = ts_node_named_child(node, 0);
      if (!ts_node_is_null(child) && (tree.roles(child) & kVariable) != 0) {
        add(child, tree.roles(child));
      }
      descend = false;
    }
    if (descend && ts_tree_cursor_goto_first_child(cursor.get())) continue;
    while (!ts_tree_cursor_goto_next_sibling(cursor.get())) {
      if (!ts_tree_cursor_goto_parent(cursor.get())) return definitions;
    }
  }
  return definitions;
}

}  // namespace fimd
