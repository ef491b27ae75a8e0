// SPDX-License-Identifier: Apache-2.0
#include "fs/interrupts.h"

#include <utility>
#include <vector>

namespace layerfs {

Interrupts::Token Interrupts::Announce() {
  const Token token = next_.fetch_add(1);
  operations_.With([&](auto& operations) { operations.try_emplace(token); });
  return token;
}

bool Interrupts::Begin(Token token, std::function<void()> cancel) {
  if (token == 0) return true;
  return operations_.WithNotify([&](auto& operations) {
    const auto it = operations.find(token);
    if (it == operations.end()) return true;
    if (it->second.interrupted) {
      operations.erase(it);
      return false;
    }
    it->second.begun = true;
    it->second.cancel = std::move(cancel);
    return true;
  });
}

void Interrupts::End(Token token) {
  if (token == 0) return;
  // What `cancel` holds is let go outside the lock.
  Operation ended;
  operations_.WithNotify([&](auto& operations) {
    const auto it = operations.find(token);
    if (it == operations.end()) return;
    ended = std::move(it->second);
    operations.erase(it);
  });
}

void Interrupts::Interrupt(Token token) {
  const std::function<void()> cancel = operations_.With([&](auto& operations) {
    const auto it = operations.find(token);
    if (it == operations.end()) return std::function<void()>();
    it->second.interrupted = true;
    return std::exchange(it->second.cancel, nullptr);
  });
  if (cancel != nullptr) cancel();
}

void Interrupts::InterruptAll() {
  const auto tokens = operations_.With([](auto& operations) {
    std::vector<Token> all;
    for (const auto& [token, operation] : operations) all.push_back(token);
    return all;
  });
  for (const Token token : tokens) Interrupt(token);
  operations_.WaitThen([](auto& operations) { return operations.empty(); }, [](auto&) {});
}

}  // namespace layerfs
