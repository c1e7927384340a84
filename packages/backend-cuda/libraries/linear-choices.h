// Which of several ways to compute a linear layer was fastest, as it is kept from run to run.
#pragma once
#include <map>
#include <string>

#include "cublaslt.h"

namespace quire {

struct LinearChoice {
  bool library = false;
  cublaslt::Algo algo{};
};

// Choices by key, as lines of a text file. What is wrong with the file is nobody's concern: it is a cache.
class LinearChoices {
 public:
  // `file` may be empty. `machine`: what the choices hold for.
  LinearChoices(std::string file, std::string machine);
  const std::string& machine() const { return machine_; }
  const LinearChoice* find(const std::string& key) const;
  // For this process and later ones.
  void keep(const std::string& key, const LinearChoice& choice);

 private:
  std::string file_, machine_;
  std::map<std::string, LinearChoice> choices_;
};

}  // namespace quire
