#include "header-text.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <sstream>

using namespace quire;

std::vector<std::string> headerFolders(const Library& library) {
  const std::string folder = parentOf(library.path());
  std::vector<std::string> folders = {parentOf(folder) + "/include", folder};
  for (const auto& root : toolkits()) folders.insert(folders.end(), {root + "/include", root + "/targets/x86_64-linux/include"});
  return folders;
}

HeaderText::HeaderText(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    if (text.compare(i, 2, "/*") == 0) i = std::min(text.size(), text.find("*/", i) + 2), text_ += ' ';
    else if (text.compare(i, 2, "//") == 0) i = std::min(text.size(), text.find('\n', i));
    else text_ += text[i++];
  }
}

std::optional<HeaderText> HeaderText::find(const std::vector<std::string>& folders, const std::string& name) {
  for (const auto& folder : folders) {
    std::ifstream file(folder + "/" + name);
    if (!file) continue;
    std::ostringstream text;
    text << file.rdbuf();
    HeaderText header(text.str());
    header.path_ = folder + "/" + name;
    return header;
  }
  return std::nullopt;
}

namespace {
const char* const kSpace = " \t\r\n";
bool isWordCharacter(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// The next place, from `from` on, where `word` stands by itself.
size_t findWord(const std::string& text, const std::string& word, size_t from) {
  for (size_t at = text.find(word, from); at != std::string::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || !isWordCharacter(text[at - 1])) && (end == text.size() || !isWordCharacter(text[end]))) return at;
  }
  return std::string::npos;
}
bool isDefined(const std::string& text, size_t at) {
  const size_t before = text.find_last_not_of(kSpace, at - 1);
  return at > 0 && before != std::string::npos && before >= 6 && text.compare(before - 5, 6, "define") == 0;
}
std::string squeezed(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::isspace(static_cast<unsigned char>(c)) == 0) out += c;
    else if (!out.empty() && out.back() != ' ') out += ' ';
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}
}  // namespace

std::optional<long> HeaderText::number(const std::string& name) const {
  for (size_t at = findWord(text_, name, 0); at != std::string::npos; at = findWord(text_, name, at + 1)) {
    size_t value = text_.find_first_not_of(kSpace, at + name.size());
    if (value == std::string::npos) break;
    if (text_[value] == '=') value = text_.find_first_not_of(kSpace, value + 1);
    else if (!isDefined(text_, at)) continue;
    if (value != std::string::npos && std::isdigit(static_cast<unsigned char>(text_[value])) != 0) return std::strtol(text_.c_str() + value, nullptr, 0);
  }
  return std::nullopt;
}

std::optional<int> HeaderText::parameterCount(const std::string& function) const {
  for (size_t at = findWord(text_, function, 0); at != std::string::npos; at = findWord(text_, function, at + 1)) {
    const size_t open = text_.find_first_not_of(kSpace, at + function.size());
    if (open == std::string::npos || text_[open] != '(') continue;
    const size_t close = text_.find(')', open);
    if (close == std::string::npos) return std::nullopt;
    const std::string list = squeezed(text_.substr(open + 1, close - open - 1));
    return list.empty() || list == "void" ? 0 : 1 + static_cast<int>(std::count(list.begin(), list.end(), ','));
  }
  return std::nullopt;
}

std::optional<std::string> HeaderText::structMembers(const std::string& name) const {
  for (size_t at = findWord(text_, name, 0); at != std::string::npos; at = findWord(text_, name, at + 1)) {
    const size_t close = at == 0 ? std::string::npos : text_.find_last_not_of(kSpace, at - 1);
    if (close == std::string::npos || text_[close] != '}') continue;
    const size_t open = text_.rfind('{', close);
    if (open != std::string::npos) return squeezed(text_.substr(open + 1, close - open - 1));
  }
  return std::nullopt;
}
