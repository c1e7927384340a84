// The launch functions of all operations: plain C++, no Node-API. One function per operation of the contract
// (packages/core/src/contract/contract.ts), under its name, in kernels/<stem>.cu. Arguments carry the field names of the
// contract. Every function enqueues on `stream` and returns at once; grids depend on `sizes` only, so that they can be
// captured into a graph per bucket: what varies within a bucket is read from device memory.
// They are declared in ops/, by families, so that a new operation has only its own family compiled anew. An operation without
// a function …Workspace needs no workspace.
#pragma once
#include "ops/attention.h"
#include "ops/columns.h"
#include "ops/joint.h"
#include "ops/layers.h"
#include "ops/linear.h"
#include "ops/lora.h"
#include "ops/moe.h"
#include "ops/persistent.h"
#include "ops/rotated.h"
#include "ops/rows.h"
#include "ops/sampling.h"
