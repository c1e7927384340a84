// Headers of a library, read as text.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "libraries/library.h"

// Where a library's header would lie: beside it, or in a toolkit.
std::vector<std::string> headerFolders(const quire::Library& library);

// A C header without its comments. Enough of a parser for enumerators, #defines of numbers, parameter counts and structs.
class HeaderText {
 public:
  explicit HeaderText(const std::string& text);
  // The first of `folders` that has the file; nothing where none has.
  static std::optional<HeaderText> find(const std::vector<std::string>& folders, const std::string& file);

  std::optional<long> number(const std::string& name) const;        // NAME = 12, or #define NAME 12
  std::optional<int> parameterCount(const std::string& function) const;
  // The members of `typedef struct {...} name;`, white space squeezed.
  std::optional<std::string> structMembers(const std::string& name) const;
  const std::string& path() const { return path_; }

 private:
  std::string text_, path_;
};
