// One JSON object per line on standard output, written in one piece as soon as it is measured, so that nothing is lost when
// the machine goes.
#pragma once
#include <cstdint>
#include <string>
#include <type_traits>

class JsonLine {
 public:
  explicit JsonLine(const char* stage) { put("stage", stage); }

  JsonLine& put(const char* key, const std::string& value) { return raw(key, quoted(value)); }
  JsonLine& put(const char* key, const char* value) { return raw(key, quoted(value)); }
  JsonLine& put(const char* key, bool value) { return raw(key, value ? "true" : "false"); }
  JsonLine& put(const char* key, std::nullptr_t) { return raw(key, "null"); }
  // Six significant digits; null where there is no number.
  JsonLine& put(const char* key, double value);
  template <class T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>, int> = 0>
  JsonLine& put(const char* key, T value) {
    return raw(key, std::to_string(value));
  }
  void emit() const;

  static std::string quoted(const std::string& text);

 private:
  JsonLine& raw(const char* key, const std::string& value);
  std::string fields_;
};
