// Which trials have begun and which have ended, in a file that outlives the process.
#pragma once
#include <string>

namespace quire {

// A trial that took its process or its GPU with it has begun and never ended: it is not made again. What is wrong with the file is
// nobody's concern: it is a cache.
class TrialMarks {
 public:
  // `file` may be empty: then nothing is known of other processes. `machine`: what the marks hold for, one GPU.
  TrialMarks(std::string file, std::string machine) : file_(std::move(file)), machine_(std::move(machine)) {}
  // Whether the trial may be made, which has then begun.
  bool begin(const std::string& key);
  void end(const std::string& key);

 private:
  void append(const std::string& key, const char* mark) const;

  std::string file_, machine_;
};

}  // namespace quire
