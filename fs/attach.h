/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_ATTACH_H
#define FS_ATTACH_H

#include <stdbool.h>

#include "store/reason.h"

/*
 * Mounting and unmounting in the kernel's sense: root with mount(2), others through fusermount3.
 * libfuse could do it, but its unmounting takes whatever is mounted at the path at that moment,
 * which after a lazy unmount is somebody else's; and its errors go to stderr in its own words.
 */
struct attach_options {
	const char *mountpoint; /* resolved */
	const char *state;	/* becomes the source in mountinfo */
	bool allow_other;
	unsigned long flags; /* MS_* */
};

/*
 * Attaches a new FUSE filesystem. Ownership: the caller closes *ret_device, which is /dev/fuse and
 * the mount's connection. Returns -errno with a reason. Context: any number of threads.
 */
int attach(const struct attach_options *options, int *ret_device, struct reason *reason);

/* Notes which filesystem is at the mountpoint, so that attach_detach takes that one and no other.
 */
struct attached {
	unsigned int major, minor;
};
int attach_note(const char *mountpoint, struct attached *ret_attached);

/*
 * Lazily unmounts, if that very filesystem is still the topmost one there. Never waits for users
 * of the mount. Returns 0 also when it was gone already, else -errno.
 */
int attach_detach(const char *mountpoint, const struct attached *attached);

#endif
