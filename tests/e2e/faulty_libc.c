// SPDX-License-Identifier: Apache-2.0
// Preloaded into a process: a disk that fails, a wall clock that jumps, name servers that do not
// answer, and a rare word of the kernel. For a kernel without device mapper, and for a clock that the
// rest of the machine shares.
//   FAULTY_DISK   while FAULTY_DISK.fails exists, data of files below the directory FAULTY_DISK can
//                 neither be read nor written: EIO
//   FAULTY_CLOCK  a file with the number of seconds by which CLOCK_REALTIME is off
//   FAULTY_NAMES  while this file exists, looking up a name takes a minute, and fails
//   FAULTY_FUSE   if set, what /dev/fuse says with ENODEV, it says with ECONNABORTED
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int disk_fails(int fd) {
  const char* disk = getenv("FAULTY_DISK");
  if (disk == NULL) return 0;
  const int saved = errno;
  char path[4096];
  snprintf(path, sizeof path, "%s.fails", disk);
  int fails = access(path, F_OK) == 0;
  if (fails) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = '\0';
    const size_t length = strlen(disk);
    fails = strncmp(path, disk, length) == 0 && path[length] == '/';
  }
  errno = fails ? EIO : saved;
  return fails;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pread(int fd, void* data, size_t size, off_t offset) {
  return disk_fails(fd) ? -1 : NEXT(pread)(fd, data, size, offset);
}
ssize_t pread64(int fd, void* data, size_t size, off64_t offset) {
  return disk_fails(fd) ? -1 : NEXT(pread64)(fd, data, size, offset);
}
ssize_t preadv2(int fd, const struct iovec* parts, int count, off_t offset, int flags) {
  return disk_fails(fd) ? -1 : NEXT(preadv2)(fd, parts, count, offset, flags);
}
ssize_t preadv64v2(int fd, const struct iovec* parts, int count, off64_t offset, int flags) {
  return disk_fails(fd) ? -1 : NEXT(preadv64v2)(fd, parts, count, offset, flags);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return disk_fails(fd) ? -1 : NEXT(pwrite)(fd, data, size, offset);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  return disk_fails(fd) ? -1 : NEXT(pwrite64)(fd, data, size, offset);
}
ssize_t write(int fd, const void* data, size_t size) {
  return disk_fails(fd) ? -1 : NEXT(write)(fd, data, size);
}
ssize_t copy_file_range(int from, off64_t* in, int to, off64_t* out, size_t size, unsigned flags) {
  if (disk_fails(from) || disk_fails(to)) return -1;
  return NEXT(copy_file_range)(from, in, to, out, size, flags);
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  const int result = NEXT(clock_gettime)(clock, now);
  const char* clock_file = getenv("FAULTY_CLOCK");
  if (result != 0 || clock != CLOCK_REALTIME || clock_file == NULL) return result;
  const int saved = errno;
  FILE* file = fopen(clock_file, "r");
  long off = 0;
  if (file != NULL) {
    if (fscanf(file, "%ld", &off) == 1) now->tv_sec += off;
    fclose(file);
  }
  errno = saved;
  return result;
}

static ssize_t fuse_ends(ssize_t result) {
  if (result < 0 && errno == ENODEV && getenv("FAULTY_FUSE") != NULL) errno = ECONNABORTED;
  return result;
}

ssize_t read(int fd, void* data, size_t size) { return fuse_ends(NEXT(read)(fd, data, size)); }
ssize_t splice(int from, off64_t* in, int to, off64_t* out, size_t size, unsigned flags) {
  return fuse_ends(NEXT(splice)(from, in, to, out, size, flags));
}

int getaddrinfo(const char* name, const char* service, const struct addrinfo* hints,
                struct addrinfo** found) {
  const char* faulty = getenv("FAULTY_NAMES");
  if (faulty == NULL || access(faulty, F_OK) != 0) {
    return NEXT(getaddrinfo)(name, service, hints, found);
  }
  sleep(60);
  return EAI_AGAIN;
}
