#pragma once
#include <functional>

void testIpc(const std::function<void(bool ok, const char* what)>& check);
