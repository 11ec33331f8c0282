#include <map>
#include <string>
#include <vector>

namespace shop {

template <class T, int N = 4>
class Ring {
 public:
  explicit Ring(T start) : first_(start) {}
  ~Ring() = default;

  /// Adds one.
  void push(const T& value) {
    items_.push_back(value);
    if (items_.size() > N) items_.erase(items_.begin());
  }
  [[nodiscard]] size_t size() const noexcept { return items_.size(); }

 private:
  T first_;
  std::vector<T> items_;
};

enum class Kind : int { kSmall, kLarge = 1'000 };
using Table = std::map<std::string, std::vector<int>>;

int total(const Table& table) {
  int sum = 0;
  for (const auto& [name, values] : table) {
    for (int value : values) sum += value;
  }
  auto twice = [&sum](int x) { return sum * x; };
  const char* raw = R"x(no "escape" here ))x";
  try {
    if (raw == nullptr) throw std::runtime_error("null");
  } catch (const std::exception& e) {
    return -1;
  }
  return twice(2);
}

}  // namespace shop
