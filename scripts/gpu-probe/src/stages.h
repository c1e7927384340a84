// The stages, most valuable first. Each throws on an error, and its process ends; the others run in processes of their own.
#pragma once
#include "probe.h"

void deviceStage(const Probe& probe);
void fragmentsStage(const Probe& probe);
void warpgroupStage(const Probe& probe);
void bandwidthStage(const Probe& probe);
void launchStage(const Probe& probe);
void mmaStage(const Probe& probe);
void cublasLtStage(const Probe& probe);
void ncclStage(const Probe& probe);

struct Stage {
  const char* name;
  int capSeconds;  // together 190
  void (*run)(const Probe&);
};
constexpr Stage kStages[] = {
    {"device", 15, deviceStage}, {"fragments", 15, fragmentsStage}, {"warpgroup", 10, warpgroupStage}, {"bandwidth", 40, bandwidthStage},
    {"launch", 30, launchStage}, {"mma", 25, mmaStage},             {"cublaslt", 35, cublasLtStage},   {"nccl", 20, ncclStage},
};
