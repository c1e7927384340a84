// The word of a row that names its adapter, see Row of the contract: apart from row_state.h, as one operation alone reads it.
#pragma once

namespace quire {

namespace Row {
constexpr int adapter = 18;
}

}  // namespace quire
