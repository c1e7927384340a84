#include "library.h"

#include <dlfcn.h>
#include <glob.h>
#include <link.h>

#include <cstdlib>
#include <sstream>
#include <stdexcept>

namespace quire {
namespace {
std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}
}  // namespace

std::string parentOf(const std::string& path) { return path.substr(0, path.find_last_of('/')); }

std::vector<std::string> expanded(const std::string& pattern) {
  std::vector<std::string> paths;
  glob_t found;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return paths;
}

std::vector<std::string> toolkits() {
  std::vector<std::string> roots;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const std::string value = environment(name); !value.empty()) roots.push_back(value);
  }
  roots.push_back("/usr/local/cuda");
  return roots;
}

namespace {
// The environments whose site-packages may hold NVIDIA's wheels.
std::vector<std::string> pythonPrefixes() {
  std::vector<std::string> prefixes;
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (const std::string value = environment(name); !value.empty()) prefixes.push_back(value);
  }
  std::istringstream path(environment("PATH"));
  for (std::string folder; std::getline(path, folder, ':');) {
    if (!expanded(folder + "/python3").empty()) prefixes.push_back(parentOf(folder));
  }
  return prefixes;
}

std::vector<std::string> candidateFolders(const std::vector<std::string>& wheelFolders) {
  std::vector<std::string> folders;
  for (const auto& root : toolkits()) folders.insert(folders.end(), {root + "/lib64", root + "/targets/x86_64-linux/lib"});
  for (const auto& prefix : pythonPrefixes()) {
    for (const auto& wheel : wheelFolders) {
      for (const auto& folder : expanded(prefix + "/lib/python3*/site-packages/" + wheel)) folders.push_back(folder);
    }
  }
  return folders;
}
}  // namespace

Library::Library(const char* override, std::vector<std::string> names, std::vector<std::string> wheelFolders) {
  std::string tried;
  const auto open = [&](const std::string& path, int flags) {
    if (handle_ != nullptr) return;
    handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | flags);
    if (handle_ == nullptr && flags == 0) tried += std::string(tried.empty() ? "" : "; ") + dlerror();
  };
  if (const std::string path = environment(override); !path.empty()) {
    if (path[0] != '/') throw std::runtime_error(std::string(override) + " is " + path + ", expected an absolute path");
    open(path, 0);
    if (handle_ == nullptr) throw std::runtime_error(std::string(override) + " names a library that does not open: " + tried);
  }
  for (const auto& name : names) open(name, RTLD_NOLOAD);
  for (const auto& name : names) open(name, 0);
  for (const auto& folder : candidateFolders(wheelFolders)) {
    for (const auto& name : names) {
      if (!expanded(folder + "/" + name).empty()) open(folder + "/" + name, 0);
    }
  }
  if (handle_ == nullptr) throw std::runtime_error("not found (" + tried + "); set " + override + " to its path");
}

void* Library::symbol(const char* name) const { return dlsym(handle_, name); }

std::string Library::path() const {
  link_map* map = nullptr;
  return dlinfo(handle_, RTLD_DI_LINKMAP, &map) == 0 ? map->l_name : "";
}

}  // namespace quire
