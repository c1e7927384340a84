#include "json-line.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>

std::string JsonLine::quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
    else out += ' ';
  }
  return out + '"';
}

JsonLine& JsonLine::put(const char* key, double value) {
  if (!std::isfinite(value)) return raw(key, "null");
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return raw(key, text);
}

JsonLine& JsonLine::raw(const char* key, const std::string& value) {
  fields_ += (fields_.empty() ? "" : ",") + quoted(key) + ":" + value;
  return *this;
}

void JsonLine::emit() const {
  const std::string line = "{" + fields_ + "}\n";
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t n = ::write(STDOUT_FILENO, line.data() + done, line.size() - done);
    if (n <= 0) return;
    done += static_cast<size_t>(n);
  }
}
