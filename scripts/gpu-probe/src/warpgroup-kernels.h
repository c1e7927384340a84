// Products of one warpgroup, D (64 x n) = A (64 x 64) B (64 x n), as attention has them. Rows of 16-bit elements; b is given by its
// columns, and by its rows where `registers`.
#pragma once
#include "fragments.h"
#include "probe.h"

enum class WarpgroupForm { shared128, registers64, registers128 };

void enqueueProduct(const Probe& probe, Half type, WarpgroupForm form, const uint16_t* a, const uint16_t* b, float* d);
