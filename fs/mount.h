/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_MOUNT_H
#define FS_MOUNT_H

#include "fs/daemon.h"
#include "fs/options.h"

struct mount {
	struct options options;
	const char *state;	/* resolved */
	const char *mountpoint; /* resolved and checked */
	struct daemon daemon;
};

/*
 * Mounts a state and serves it until it is unmounted or a signal comes. The process must have one
 * thread and be in the background already (daemon_start).
 * Returns 0 after a mount that ended in order, also by a signal, else -errno: it is told on stderr.
 */
int mount_serve(struct mount *mount);

#endif
