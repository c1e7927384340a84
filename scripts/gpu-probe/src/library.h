// Libraries that are opened where they are found, and headers beside them that are read as text.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

class Library {
 public:
  // Tries in order: the path in the environment variable `override`; a copy that this process has loaded already; the
  // loader's own search for each name; CUDA_HOME and CUDA_PATH; the Python environments named by VIRTUAL_ENV and
  // CONDA_PREFIX, or that a python3 on PATH belongs to; /usr/local/cuda. `wheelFolders` lie under site-packages.
  // Throws with every place that was tried.
  Library(const char* override, std::vector<std::string> names, std::vector<std::string> wheelFolders);

  // Null where the library lacks it.
  void* symbol(const char* name) const;
  std::string path() const;
  // Where its header would lie: beside it, or in a toolkit.
  std::vector<std::string> headerFolders() const;

 private:
  void* handle_ = nullptr;
};

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
