#include "linear-choices.h"

#include <cstdio>
#include <fstream>
#include <sstream>

namespace quire {
namespace {

// A line: machine, key and choice, with tabs between; a choice is `own`, or the words of an algorithm in hexadecimal.
constexpr char kOwn[] = "own";

std::string textOf(const LinearChoice& choice) {
  if (!choice.library) return kOwn;
  std::string text;
  for (const uint64_t word : choice.algo.data) {
    char digits[20];
    std::snprintf(digits, sizeof digits, "%s%016llx", text.empty() ? "" : " ", static_cast<unsigned long long>(word));
    text += digits;
  }
  return text;
}

bool readChoice(const std::string& text, LinearChoice& choice) {
  if (text == kOwn) return true;
  std::istringstream words(text);
  choice.library = true;
  for (uint64_t& word : choice.algo.data) words >> std::hex >> word;
  return !words.fail();
}

}  // namespace

LinearChoices::LinearChoices(std::string file, std::string machine) : file_(std::move(file)), machine_(std::move(machine)) {
  std::ifstream lines(file_);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string machineField, key, text;
    LinearChoice choice;
    const bool whole = std::getline(fields, machineField, '\t') && std::getline(fields, key, '\t') && std::getline(fields, text);
    if (whole && machineField == machine_ && readChoice(text, choice)) choices_[key] = choice;
  }
}

const LinearChoice* LinearChoices::find(const std::string& key) const {
  const auto found = choices_.find(key);
  return found == choices_.end() ? nullptr : &found->second;
}

void LinearChoices::keep(const std::string& key, const LinearChoice& choice) {
  choices_[key] = choice;
  if (file_.empty()) return;
  // One write per line: several processes may append.
  std::ofstream(file_, std::ios::app) << machine_ + "\t" + key + "\t" + textOf(choice) + "\n" << std::flush;
}

}  // namespace quire
