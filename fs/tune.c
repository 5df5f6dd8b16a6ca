/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the settings around the protocol. Only read_ahead_kb makes the kernel's requests larger than
 * 128 KiB; it is root's to write, so a mount by somebody else goes without.
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/fs.h"

#define READ_AHEAD_KB "1024"

void fs_tune(const char *mountpoint)
{
	char path[64];
	struct stat attr;
	int fd;

	if (stat(mountpoint, &attr) < 0)
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(attr.st_dev),
		 minor(attr.st_dev));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, READ_AHEAD_KB, sizeof(READ_AHEAD_KB) - 1) < 0)
		perror(path);
	close(fd);
}

/*
 * LMDB allocates a transaction's pages, up to 1 MiB each, and frees them after it. Where the kernel
 * gets them back each time, faulting them in again costs more than filling and writing them.
 */
void fs_tune_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
}
