#include "cases.h"

namespace budgets {

std::vector<Case> makeCases(Scale scale) {
  std::vector<Case> cases;
  for (const auto& family : {linearCases(scale), attentionCases(scale), rowCases(scale), samplerCases(scale)}) cases.insert(cases.end(), family.begin(), family.end());
  return cases;
}

}  // namespace budgets
