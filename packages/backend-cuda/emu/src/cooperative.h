// Of the emulated chip, beside what grid.h says.
#pragma once

namespace emu {

// Whether it has cooperative launches: at first it does.
bool& hasCooperativeLaunches();

}  // namespace emu
