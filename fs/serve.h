/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_SERVE_H
#define FS_SERVE_H

#include "fs/fs.h"

/*
 * Taking requests from the kernel in threads of their own, until the mount is gone or is told to
 * go.
 */
struct serve;

/*
 * Begins to serve the attached filesystem behind `device`. Ownership: takes over `device`.
 * Returns -ENOMEM, -EAGAIN, -EIO, with a reason.
 */
int serve_start(struct fs *fs, int device, struct serve **ret_serve, struct reason *reason);

/* Waits until the filesystem was unmounted, or one of the signals behind `signals` came. */
void serve_wait(struct serve *serve, int signals);

/*
 * Ends the threads, each after the request that it works on, and closes the connection: whoever
 * still uses the mount gets ECONNABORTED or ENOTCONN. NULL is accepted.
 */
void serve_stop(struct serve *serve);

#endif
