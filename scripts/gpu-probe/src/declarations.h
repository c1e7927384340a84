// Compares own declarations of a library with what the machine has: its symbols, and its headers read as text.
#pragma once
#include "header-text.h"
#include "probe.h"

// Names of the functions that the library lacks.
template <class Constants>
std::string missingSymbols(const quire::Library& library, const Constants& functions) {
  std::string missing;
  for (const auto& f : functions) {
    if (library.symbol(f.name) == nullptr) missing += std::string(missing.empty() ? "" : " ") + f.name;
  }
  return missing;
}

struct Comparison {
  int same = 0;
  std::string absent, different;

  void add(const std::string& name, std::optional<long> found, long expected) {
    if (found && *found == expected) same++;
    else if (found) different += format("%s%s is %ld, not %ld", different.empty() ? "" : "; ", name.c_str(), *found, expected);
    else absent += (absent.empty() ? "" : " ") + name;
  }
  void emit(const Probe& probe, const std::string& files) const {
    probe.line("declarations").put("headers", files).put("same", same).put("absent", absent).put("different", different).emit();
  }
};

// Looks each constant up in the headers, and each function's parameters in the first of them.
template <class Constants, class Functions>
Comparison compare(const std::vector<HeaderText>& headers, const Constants& constants, const Functions& functions) {
  Comparison result;
  for (const auto& c : constants) {
    std::optional<long> found;
    for (const auto& header : headers) if (!found) found = header.number(c.name);
    result.add(c.name, found, c.value);
  }
  for (const auto& f : functions) {
    const auto found = headers.front().parameterCount(f.name);
    result.add(std::string("parameters of ") + f.name, found ? std::optional<long>(*found) : std::nullopt, f.value);
  }
  return result;
}

// Opens what is there of `files`; emits one line that says so, or the comparison.
template <class Constants, class Functions>
std::vector<HeaderText> compareHeaders(const Probe& probe, const quire::Library& library, const std::vector<std::string>& files, const Constants& constants, const Functions& functions) {
  std::vector<HeaderText> headers;
  std::string paths;
  for (const auto& file : files) {
    auto header = HeaderText::find(headerFolders(library), file);
    if (!header) continue;
    paths += (paths.empty() ? "" : " ") + header->path();
    headers.push_back(*header);
  }
  if (headers.size() < files.size()) probe.line("declarations").put("headers", paths).put("different", "some headers are not on this machine").emit();
  else compare(headers, constants, functions).emit(probe, paths);
  return headers;
}
