/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what stat(2) shows: modes, owners, sizes, times. The daemon checks permissions itself, so
 * these bits only have to be honest about what it will say.
 */
#include "fs/attr.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define GROUPS_MAX 64

void attr_set_time(struct stat *attr, int64_t time_ns)
{
	struct timespec time = {
		.tv_sec = time_ns / 1000000000,
		.tv_nsec = time_ns % 1000000000,
	};

	attr->st_atim = time;
	attr->st_mtim = time;
	attr->st_ctim = time;
}

static void fill(const struct fs *fs, struct stat *attr, uint64_t inode, mode_t mode, uint64_t size,
		 int64_t time_ns)
{
	memset(attr, 0, sizeof(*attr));
	attr->st_ino = inode;
	attr->st_mode = mode;
	attr->st_nlink = 1;
	attr->st_uid = fs->options.owner;
	attr->st_gid = fs->options.group;
	attr->st_size = (off_t)size;
	attr->st_blocks = (blkcnt_t)((size + 511) / 512);
	attr->st_blksize = 4096;
	attr_set_time(attr, time_ns);
}

void attr_directory(const struct fs *fs, struct stat *attr, uint64_t inode, int64_t time_ns)
{
	fill(fs, attr, inode, S_IFDIR | 0755, 0, time_ns);
}

void attr_file(const struct fs *fs, struct stat *attr, uint64_t inode, mode_t permissions,
	       uint64_t size, int64_t time_ns)
{
	fill(fs, attr, inode, S_IFREG | permissions, size, time_ns);
}

void attr_link(const struct fs *fs, struct stat *attr, uint64_t inode, uint64_t target_length,
	       int64_t time_ns)
{
	fill(fs, attr, inode, S_IFLNK | 0777, target_length, time_ns);
}

static bool is_in_group(fuse_req_t request, gid_t group)
{
	gid_t groups[GROUPS_MAX];
	int count;

	if (fuse_req_ctx(request)->gid == group)
		return true;
	count = fuse_req_getgroups(request, GROUPS_MAX, groups);
	for (int i = 0; i < count && i < GROUPS_MAX; i++)
		if (groups[i] == group)
			return true;
	return false;
}

int attr_access(fuse_req_t request, const struct stat *attr, int mask)
{
	const struct fuse_ctx *context = fuse_req_ctx(request);
	mode_t mode = attr->st_mode, wanted = (mode_t)mask & 7;

	if (context->uid == 0) {
		bool may_execute = S_ISDIR(mode) || (mode & 0111);

		return (mask & X_OK) && !may_execute ? -EACCES : 0;
	}
	if (context->uid == attr->st_uid)
		mode >>= 6;
	else if ((mode & wanted) != wanted && is_in_group(request, attr->st_gid))
		mode >>= 3;
	return (mode & wanted) == wanted ? 0 : -EACCES;
}
