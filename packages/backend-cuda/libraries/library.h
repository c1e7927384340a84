// Libraries that are opened where they are found: none is needed to build or to start.
#pragma once
#include <string>
#include <vector>

namespace quire {

class Library {
 public:
  // Tries in order: the absolute path in the environment variable `override`; a copy that this process has loaded already; the
  // loader's own search for each name; CUDA_HOME and CUDA_PATH; the Python environments named by VIRTUAL_ENV and
  // CONDA_PREFIX, or that a python3 on PATH belongs to; /usr/local/cuda. `wheelFolders` lie under site-packages.
  // Throws with every place that was tried.
  Library(const char* override, std::vector<std::string> names, std::vector<std::string> wheelFolders);

  // Null where the library lacks it.
  void* symbol(const char* name) const;
  std::string path() const;

 private:
  void* handle_ = nullptr;
};

// A path without its last part.
std::string parentOf(const std::string& path);
// The paths that a pattern of the shell names.
std::vector<std::string> expanded(const std::string& pattern);
// Roots of CUDA toolkits: CUDA_HOME, CUDA_PATH, /usr/local/cuda.
std::vector<std::string> toolkits();

}  // namespace quire
