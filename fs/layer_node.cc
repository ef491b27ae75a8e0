// SPDX-License-Identifier: Apache-2.0
#include "fs/layer_node.h"

#include <algorithm>
#include <utility>

namespace layerfs {

NodeTable::NodeTable(NodePtr root) {
  root->lookups_ = 1;  // for the life of the mount
  nodes_.With([&](Nodes& nodes) { nodes.emplace(root->id, root); });
}

NodePtr NodeTable::Find(NodeId id) const {
  return nodes_.With([&](const Nodes& nodes) {
    const auto it = nodes.find(id);
    return it == nodes.end() ? nullptr : it->second;
  });
}

NodePtr NodeTable::Adopt(const NodePtr& made) {
  return nodes_.With([&](Nodes& nodes) {
    const auto [it, added] = nodes.try_emplace(made->id, made);
    if (added && made->parent != nullptr) ++made->parent->children_;
    ++it->second->lookups_;
    return it->second;
  });
}

// Takes the node out where nothing needs it, and then perhaps its parents. What is taken out is
// let go by the caller, outside the lock, and child before parent: no recursion along a path.
void NodeTable::Release(Nodes& nodes, NodePtr node, std::vector<NodePtr>& released) {
  while (node != nullptr && node->lookups_ == 0 && node->children_ == 0) {
    const auto it = nodes.find(node->id);
    if (it == nodes.end() || it->second != node) return;
    nodes.erase(it);
    NodePtr parent = node->parent;
    if (parent != nullptr) --parent->children_;
    released.push_back(std::move(node));
    node = std::move(parent);
  }
}

void NodeTable::Forget(NodeId id, uint64_t lookups) {
  std::vector<NodePtr> released;
  nodes_.With([&](Nodes& nodes) {
    const auto it = nodes.find(id);
    if (it == nodes.end()) return;
    LayerNode& node = *it->second;
    node.lookups_ -= std::min(node.lookups_, lookups);
    if (id == kRootNode) node.lookups_ = std::max<uint64_t>(node.lookups_, 1);
    Release(nodes, it->second, released);
  });
}

void NodeTable::SetName(const NodePtr& node, NodePtr parent, std::string name) {
  std::vector<NodePtr> released;
  nodes_.With([&](Nodes& nodes) {
    const auto it = nodes.find(node->id);
    const bool known = it != nodes.end() && it->second == node;
    NodePtr old = std::exchange(node->parent, std::move(parent));
    node->name = std::move(name);
    if (!known) return;
    if (node->parent != nullptr) ++node->parent->children_;
    if (old == nullptr) return;
    --old->children_;
    Release(nodes, std::move(old), released);
  });
}

size_t NodeTable::size() const {
  return nodes_.With([](const Nodes& nodes) { return nodes.size(); });
}

}  // namespace layerfs
