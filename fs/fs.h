/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_FS_H
#define FS_FS_H

#define FUSE_USE_VERSION 312

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <sys/types.h>

#include "engine/engine.h"
#include "store/reason.h"

/*
 * The mount's tree as FUSE low-level operations. It decides nothing: it translates names and
 * requests into calls of the engine, and their results into replies.
 *
 * The page that mounts goes: engine_open; fs_new (starts threads, so after the last fork of a bare
 * process); fuse_session_new(args, fs_operations(), ..., fs); mount; fs_tune; engine_ready; the
 * session's loop with a few threads; fs_drain; fuse_session_destroy; fs_free; engine_close.
 */
struct fs;

struct fs_options {
	uid_t owner; /* of everything that no user made: who mounted */
	gid_t group;
};

/*
 * Makes the tree over an open engine and starts its workers. `engine` is borrowed until fs_free.
 * Returns -ENOMEM or -EAGAIN (no thread could be started), with a reason.
 */
int fs_new(struct engine *engine, const struct fs_options *options, struct fs **ret_fs,
	   struct reason *reason);

/* The operations; the session's userdata must be the struct fs. */
const struct fuse_lowlevel_ops *fs_operations(void);

/*
 * Raises the mount's read-ahead to 1 MiB under /sys/class/bdi, if that is permitted; otherwise
 * reads are smaller, and slower. Context: after mounting; stats `mountpoint`, so the session's loop
 * must be running in another thread.
 */
void fs_tune(const char *mountpoint);

/*
 * Has the allocator keep what a transaction used for the next one; the end of a large upload gives
 * it back to the kernel (store/upload.c). Context: once, before the first thread.
 */
void fs_tune_memory(void);

/*
 * Takes no new slow work (such requests get ESHUTDOWN from here on), cancels
 * decodes and held reads, and waits until the workers have answered what they had. Context: when the session's loop
 * has ended, before fuse_session_destroy, or earlier to end it faster; may be called twice.
 */
void fs_drain(struct fs *fs);

/* Frees everything, also files that are still open, and spools. NULL is accepted. */
void fs_free(struct fs *fs);

#endif
