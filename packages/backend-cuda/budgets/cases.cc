#include "cases.h"

namespace budgets {

std::vector<Case> makeCases(Scale scale, int smCount) {
  std::vector<Case> cases;
  for (const auto& family : {linearCases(scale, smCount), attentionCases(scale), rowCases(scale), samplerCases(scale), loraCases(scale), persistentCases(scale, smCount)}) cases.insert(cases.end(), family.begin(), family.end());
  return cases;
}

}  // namespace budgets
