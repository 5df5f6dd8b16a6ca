/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Free space. LMDB answers a full disk with EIO at best, so every transaction that brings contents
 * is preceded by a look at what is left.
 */
#include "store/room.h"

#include <errno.h>
#include <sys/statvfs.h>

#define RESERVE_MAX   (2ull * 1024 * 1024 * 1024)
#define RESERVE_SHARE 8

int room_space(int directory, struct room_space *ret_space)
{
	struct statvfs stat;

	if (fstatvfs(directory, &stat) < 0)
		return -EIO;
	ret_space->total_bytes = (uint64_t)stat.f_blocks * stat.f_frsize;
	ret_space->free_bytes = (uint64_t)stat.f_bavail * stat.f_frsize;
	ret_space->reserve_bytes = ret_space->total_bytes / RESERVE_SHARE;
	if (ret_space->reserve_bytes > RESERVE_MAX)
		ret_space->reserve_bytes = RESERVE_MAX;
	return 0;
}

int room_check(const struct room *room, uint64_t bytes, bool reserved)
{
	struct room_space space;
	struct env_pages pages;
	uint64_t kept;
	int error = room_space(room->directory, &space);

	if (error)
		return error;
	kept = reserved ? 0 : space.reserve_bytes;
	if (space.free_bytes >= kept && space.free_bytes - kept >= bytes)
		return 0;
	/* Pages that are free inside the file are as good; counting them costs a little more. */
	error = env_pages(room->env, &pages);
	if (error)
		return error;
	return space.free_bytes + pages.reusable >= kept + bytes ? 0 : -ENOSPC;
}

bool room_is_full(const struct room *room, uint64_t bytes)
{
	struct room_space space;

	return room_space(room->directory, &space) == 0 && space.free_bytes < bytes + 1024 * 1024;
}
