#include "trial-marks.h"

#include <fstream>
#include <sstream>

namespace quire {
namespace {

// A line: machine, key and mark, with tabs between.
constexpr char kBegun[] = "begun", kEnded[] = "ended";

}  // namespace

bool TrialMarks::begin(const std::string& key) {
  std::string last;
  std::ifstream lines(file_);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string machine, of, mark;
    const bool whole = std::getline(fields, machine, '\t') && std::getline(fields, of, '\t') && std::getline(fields, mark);
    if (whole && machine == machine_ && of == key) last = mark;
  }
  if (last == kBegun) return false;
  append(key, kBegun);
  return true;
}

void TrialMarks::end(const std::string& key) { append(key, kEnded); }

void TrialMarks::append(const std::string& key, const char* mark) const {
  // One write per line: several processes may append.
  if (!file_.empty()) std::ofstream(file_, std::ios::app) << machine_ + "\t" + key + "\t" + mark + "\n" << std::flush;
}

}  // namespace quire
