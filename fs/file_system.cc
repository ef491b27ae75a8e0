// SPDX-License-Identifier: Apache-2.0
#include "fs/file_system.h"

#include <cerrno>

namespace layerfs {

void FileSystem::Start(const SessionAbilities&, Notifier&) {}

void FileSystem::SetAttributes(const Caller&, NodeId, const AttributeChange&, uint64_t,
                               Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::MakeNode(const Caller&, NodeId, std::string_view, mode_t, dev_t, Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::MakeDirectory(const Caller&, NodeId, std::string_view, mode_t, Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::Unlink(const Caller&, NodeId, std::string_view, Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::RemoveDirectory(const Caller&, NodeId, std::string_view, Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::Symlink(const Caller&, std::string_view, NodeId, std::string_view, Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::Rename(const Caller&, NodeId, std::string_view, NodeId, std::string_view, unsigned,
                        Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::Link(const Caller&, NodeId, NodeId, std::string_view, Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::Create(const Caller&, NodeId, std::string_view, mode_t, int, Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::TemporaryFile(const Caller&, NodeId, mode_t, int, Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::Write(const Caller&, NodeId, uint64_t, uint64_t, ByteSpan, bool, Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::Flush(const Caller&, NodeId, uint64_t, uint64_t, Reply reply) {
  reply.Errno(ENOSYS);
}
void FileSystem::Sync(const Caller&, NodeId, uint64_t, bool, Reply reply) { reply.Errno(0); }
void FileSystem::SyncDirectory(const Caller&, NodeId, uint64_t, bool, Reply reply) {
  reply.Errno(0);
}
void FileSystem::SetXattr(const Caller&, NodeId, std::string_view, std::string_view, int,
                          Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::RemoveXattr(const Caller&, NodeId, std::string_view, Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::Access(const Caller&, NodeId, int, Reply reply) { reply.Errno(ENOSYS); }
void FileSystem::GetLock(const Caller&, NodeId, uint64_t, uint64_t, struct flock, Reply reply) {
  reply.Errno(ENOSYS);
}
void FileSystem::SetLock(const Caller&, NodeId, uint64_t, uint64_t, struct flock, bool,
                         Reply reply) {
  reply.Errno(ENOSYS);
}
void FileSystem::FlockFile(const Caller&, NodeId, uint64_t, uint64_t, int, Reply reply) {
  reply.Errno(ENOSYS);
}
void FileSystem::Allocate(const Caller&, NodeId, uint64_t, int, uint64_t, uint64_t, Reply reply) {
  reply.Errno(EROFS);
}
void FileSystem::CopyRange(const Caller&, NodeId, uint64_t, uint64_t, NodeId, uint64_t, uint64_t,
                           size_t, Reply reply) {
  reply.Errno(ENOSYS);
}
void FileSystem::Seek(const Caller&, NodeId, uint64_t, uint64_t, int, Reply reply) {
  reply.Errno(ENOSYS);
}

}  // namespace layerfs
