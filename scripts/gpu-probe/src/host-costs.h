// Costs on the host's side: waiting for an event, and copies between pinned memory and the device.
#pragma once
#include "probe.h"

void eventCosts(const Probe& probe);
void hostCopies(const Probe& probe);
